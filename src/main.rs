//! The `chainhost` program.

fn main() -> std::process::ExitCode {
    chainhost::cli::main()
}
