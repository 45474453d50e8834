//! `--demo`: a sample site, so that there is something to see at once.

use crate::{
    domain::{
        Result,
        deployment::Source,
        file_list::{FileList, ListedFile},
        site::SiteName,
    },
    services::{Services, uploads::Request},
};

const FILES: [(&str, &[u8]); 4] = [
    ("index.html", include_bytes!("../../assets/demo/index.html")),
    ("404.html", include_bytes!("../../assets/demo/404.html")),
    ("style.css", include_bytes!("../../assets/demo/style.css")),
    ("_headers", include_bytes!("../../assets/demo/_headers")),
];

/// Makes and deploys the site `demo`, unless it is there.
pub(super) async fn deploy(services: &Services) -> Result<()> {
    let local = services.actor_local().await?;
    let name = SiteName::parse("demo")?;
    if services.get_site(&local, &name).await.is_ok() {
        return Ok(());
    }
    services.create_site(&local, name.as_str()).await?;
    let mut files = Vec::new();
    for (path, bytes) in FILES {
        let sha256 = services.blobs.put(bytes)?;
        files.push(ListedFile { path: path.to_owned(), size: u64::try_from(bytes.len()).unwrap_or(0), sha256 });
    }
    let actor = services.actor_system(local.scope.tenant(), "demo");
    let request = Request {
        source: Source::Cli,
        message: String::from("The sample site"),
        publish: true,
        if_live: None,
        allow_env: false,
        idempotency_key: None,
    };
    services.deploy_list(&actor, &name, FileList::new(files, false)?, request, None).await?;
    tracing::info!(url = services.addresses.site(&name), "the sample site is live");
    Ok(())
}
