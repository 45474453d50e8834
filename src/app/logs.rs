//! The log of the program, on standard error.

use tracing_subscriber::EnvFilter;

use crate::{
    config::server::LogFormat,
    domain::{Error, Result},
};

/// Whether a filter can be read.
pub fn check(filter: &str) -> Result<()> {
    read(filter).map(drop)
}

fn read(filter: &str) -> Result<EnvFilter> {
    EnvFilter::try_new(filter).map_err(|error| {
        Error::invalid("config", format!("`log = \"{filter}\"` cannot be read: {error}. Write for example `info`."))
    })
}

/// Begins to write the log. `filter` is as in `info` or `warn,chainhost::serve=debug`.
pub fn start(filter: &str, format: LogFormat) -> Result<()> {
    let builder =
        tracing_subscriber::fmt().with_env_filter(read(filter)?).with_writer(std::io::stderr).with_target(false);
    let started = match format {
        LogFormat::Text => builder.with_ansi(rustix::termios::isatty(std::io::stderr())).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    started.map_err(Error::internal)
}
