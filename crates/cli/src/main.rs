//! `virga`: the command line of Virga. Everything is in the library, so that tests reach it.

fn main() -> std::process::ExitCode {
    virga_cli::main()
}
