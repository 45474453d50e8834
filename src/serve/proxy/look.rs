//! Looks at the servers of a route while nobody asks them.

use std::{pin::Pin, sync::Arc, time::Duration};

use hyper::{
    Request,
    header::{HOST, USER_AGENT},
};
use tokio::time::{sleep, timeout};

use super::{group::Group, server::Server};
use crate::{
    base::{random, together},
    domain::site_settings::proxy::{Health, Protocol},
    http::respond::Body,
};

/// Looks again and again until other settings take the route's place.
pub(super) async fn follow(group: Arc<Group>, health: Health) {
    let every_ms = u64::from(health.every_s) * 1_000;
    loop {
        let looks = group.servers.iter().map(|server| -> Pin<Box<dyn Future<Output = ()> + Send>> {
            let health = &health;
            Box::pin(async move {
                let seen = look(server, health).await;
                server.looked(seen, health);
            })
        });
        let all = together::all(looks);
        // Servers that several machines look at are not all asked in one instant.
        let pause = Duration::from_millis(every_ms - every_ms / 10 + random::below(every_ms / 5 + 1));
        let round = async {
            all.await;
            sleep(pause).await;
        };
        tokio::select! {
            () = round => {}
            () = group.retired.cancelled() => return,
            () = group.tasks.stopping() => return,
        }
    }
}

/// Why a server is not well.
async fn look(server: &Arc<Server>, health: &Health) -> Result<(), String> {
    // Time begins when it is its turn.
    let _turn = server.shared.look().await;
    let within = Duration::from_secs(health.timeout_s.into());
    let late = |_| format!("it said nothing within {} s", health.timeout_s);
    timeout(within, ask(server, health, within)).await.map_err(late)?
}

async fn ask(server: &Arc<Server>, health: &Health, within: Duration) -> Result<(), String> {
    if server.way.upstream().protocol == Protocol::FastCgi {
        return server.way.connect(within).await.map(drop);
    }
    let mut line = server.new_line(within).await?;
    let request = Request::get(&health.path)
        .header(HOST, &server.authority)
        .header(USER_AGENT, "chainhost (health)")
        .body(Body::empty())
        .map_err(|error| error.to_string())?;
    let answer = line.sender.send_request(request).await.map_err(|error| error.to_string())?;
    let status = answer.status().as_u16();
    let is_well = health.status.map_or((200..400).contains(&status), |it| it == status);
    if is_well { Ok(()) } else { Err(format!("it answered {status} to {}", health.path)) }
}
