//! The binary `rig`. Everything lives in the library; see its documentation for the rooms.

fn main() -> std::process::ExitCode {
    harness::commands::main()
}
