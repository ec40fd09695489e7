//! What the program does when it is started as a child, alone: `child LIBRARY [SHA256]`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let (path, sha256) = match arguments.as_slice() {
        [path] => (path, None),
        [path, sha256] => (path, sha256.to_str()),
        _ => return ExitCode::from(2),
    };
    calbridge_core::plugin::host::child::run(std::path::Path::new(path), sha256)
}
