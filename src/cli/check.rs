//! `chainhost check`: whether the settings can be used, without starting anything.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use super::terminal;
use crate::{
    app,
    config::server::{Flags, Server},
};

/// The arguments of `check`.
#[derive(Args)]
pub(super) struct Check {
    /// The configuration file [default: the defaults and the environment alone]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Check {
    /// Exit 0 when the settings can be used, 2 when not.
    pub(super) fn run(&self) -> ExitCode {
        let flags = Flags { config: self.config.clone(), ..Flags::default() };
        let loaded = Server::load(&flags).and_then(|it| app::settings::check_all(&it).map(|()| it));
        match loaded {
            Ok(settings) => {
                let for_proxies = settings.proxy_protocol_listen.iter().map(|it| format!("{it} (PROXY protocol)"));
                let tls = settings.tls.listen.iter().map(|it| format!("{it} (HTTPS)"));
                let tls_for_proxies = settings.tls.proxy_protocol_listen.iter();
                let tls = tls.chain(tls_for_proxies.map(|it| format!("{it} (PROXY protocol, HTTPS)")));
                let listen: Vec<String> =
                    settings.listen.iter().map(ToString::to_string).chain(for_proxies).chain(tls).collect();
                terminal::note(&format!(
                    "The settings are well: data in {}, listening on {}, the panel at {}, sites below {}.",
                    settings.data.display(),
                    listen.join(" and "),
                    settings.panel_host,
                    settings.sites_domain
                ));
                ExitCode::SUCCESS
            }
            Err(error) => {
                terminal::note(&format!("chainhost check: {}", error.message));
                ExitCode::from(2)
            }
        }
    }
}
