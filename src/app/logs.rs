//! The log of the program, on standard error.

use tracing_subscriber::EnvFilter;

use crate::{
    config::server::LogFormat,
    domain::{Error, Result},
};

/// Begins to write the log. `filter` is as in `info` or `warn,chainhost::serve=debug`.
pub fn start(filter: &str, format: LogFormat) -> Result<()> {
    let wrong = |error: &dyn std::fmt::Display| {
        Error::invalid("config", format!("`log = \"{filter}\"` cannot be read: {error}. Write for example `info`."))
    };
    let filter = EnvFilter::try_new(filter).map_err(|error| wrong(&error))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let started = match format {
        LogFormat::Text => builder.with_ansi(rustix::termios::isatty(std::io::stderr())).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    started.map_err(Error::internal)
}
