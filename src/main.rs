//! The `chainhost` program.

/// Gives memory back sooner and takes less for an idle connection than the system's allocator.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    chainhost::cli::main()
}
