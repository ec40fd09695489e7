//! Whether a library's file may be trusted: whose it is, who may write it, what is in it.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::path::{Path, PathBuf};

use elf::ElfStream;
use elf::endian::AnyEndian;
use sha2::{Digest as _, Sha256};

use super::LoadError;

/// The file's path without links, if it may be loaded.
pub(super) fn check(path: &Path, pin: Option<&str>) -> Result<PathBuf, LoadError> {
    if !path.is_absolute() {
        return Err(LoadError::NotAbsolute {
            path: path.to_owned(),
        });
    }
    let unreadable = |error: std::io::Error| LoadError::Unreadable {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    let real = path.canonicalize().map_err(unreadable)?;
    let metadata = real.metadata().map_err(unreadable)?;
    let no_file = |reason: &str| {
        Err(LoadError::NoFile {
            path: path.to_owned(),
            reason: reason.to_owned(),
        })
    };
    if metadata.is_dir() {
        return no_file("it is a folder; name the library's file in it");
    }
    // To open a pipe or a device may block for ever.
    if !metadata.is_file() {
        return no_file("it is neither a file nor a link to one");
    }
    if metadata.len() == 0 {
        return no_file("it is empty; install it again");
    }
    if !whole(&real, metadata.len()).map_err(unreadable)? {
        return no_file("a part of it is missing; install it again");
    }
    // Who can change a link chooses the file.
    rights::check(path)?;
    rights::check(&real)?;
    if let Some(pin) = pin {
        let found = sha256(&real).map_err(unreadable)?;
        if !found.eq_ignore_ascii_case(pin.trim()) {
            return Err(LoadError::OtherContent { path: real, found });
        }
    }
    Ok(real)
}

/// Whether an ELF file is as long as it says. The system's loader does not look: it maps what is not there, and ends
/// the program when that is touched. What is no ELF file is left to the loader.
fn whole(path: &Path, length: u64) -> std::io::Result<bool> {
    let mut file = File::open(path)?;
    let mut magic = [0; 4];
    let read = file.read(&mut magic)?;
    if read < magic.len() || magic != elf::abi::ELFMAGIC {
        return Ok(true);
    }
    file.rewind()?;
    Ok(
        ElfStream::<AnyEndian, File>::open_stream(file).is_ok_and(|elf| {
            elf.segments()
                .iter()
                .all(|part| part.p_offset.saturating_add(part.p_filesz) <= length)
        }),
    )
}

fn sha256(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        digest.update(buffer.get(..read).unwrap_or_default());
    }
    Ok(digest
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

#[cfg(unix)]
mod rights {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    use std::path::Path;

    use super::LoadError;

    const GROUP_OR_ALL: u32 = 0o022;
    const ALL: u32 = 0o002;
    const STICKY: u32 = 0o1000;

    /// The file and all folders above it belong to root or to us, and nobody else writes them.
    pub(super) fn check(path: &Path) -> Result<(), LoadError> {
        let us = rustix::process::geteuid().as_raw();
        for (above, part) in path.ancestors().enumerate() {
            let metadata = part.metadata().map_err(|error| LoadError::Unreadable {
                path: part.to_owned(),
                reason: error.to_string(),
            })?;
            let refused = |reason: &str| {
                Err(LoadError::WritableByOthers {
                    path: part.to_owned(),
                    reason: reason.to_owned(),
                })
            };
            if ![0, us].contains(&metadata.uid()) {
                return refused("belongs to another account");
            }
            let mode = metadata.permissions().mode();
            // In a sticky folder others can add files, but not replace ours. Beside the library itself even an
            // added file is too much.
            let sticky = metadata.is_dir() && mode & STICKY != 0 && above > 1;
            if mode & GROUP_OR_ALL != 0 && !sticky {
                return refused(if mode & ALL != 0 {
                    "may be written by everybody"
                } else {
                    "may be written by a group"
                });
            }
        }
        Ok(())
    }
}

#[cfg(not(unix))]
mod rights {
    use std::path::Path;

    use super::LoadError;

    /// Access lists are not looked at; the pin is what counts.
    #[allow(clippy::unnecessary_wraps)]
    pub(super) fn check(_: &Path) -> Result<(), LoadError> {
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn file(folder: &Path) -> PathBuf {
        let path = folder.join("library.so");
        std::fs::write(&path, b"abc").unwrap();
        path
    }

    #[test]
    fn a_relative_path_is_refused() {
        assert!(matches!(
            check(Path::new("library.so"), None),
            Err(LoadError::NotAbsolute { .. })
        ));
    }

    #[test]
    fn a_missing_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = check(&folder.path().join("none.so"), None).unwrap_err();
        assert!(error.to_string().contains("none.so"), "{error}");
    }

    #[test]
    fn what_is_no_file_is_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("empty.so");
        std::fs::write(&empty, b"").unwrap();
        for (path, reason) in [(folder.path(), "a folder"), (&empty, "empty")] {
            let error = check(path, None).unwrap_err();
            assert!(
                matches!(&error, LoadError::NoFile { reason: told, .. } if told.contains(reason)),
                "{error}"
            );
        }
        #[cfg(unix)]
        {
            let socket = folder.path().join("socket.so");
            let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
            let error = check(&socket, None).unwrap_err();
            assert!(matches!(&error, LoadError::NoFile { .. }), "{error}");
        }
    }

    /// Cut anywhere, it is refused before it is mapped.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_part_of_a_library_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("part.so");
        // Any ELF file will do.
        let all = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        std::fs::write(&path, &all).unwrap();
        assert!(check(&path, None).is_ok());
        for length in [16, 70, 4096, all.len() / 2, all.len() - 1] {
            std::fs::write(&path, &all[..length]).unwrap();
            let error = check(&path, None).unwrap_err();
            assert!(
                error.to_string().contains("a part of it is missing"),
                "{length}: {error}"
            );
        }
    }

    #[test]
    fn only_the_pinned_file_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(folder.path());
        let pin = "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD";
        assert_eq!(check(&path, Some(pin)), Ok(path.canonicalize().unwrap()));
        std::fs::write(&path, b"abd").unwrap();
        let error = check(&path, Some(pin)).unwrap_err();
        assert!(
            matches!(&error, LoadError::OtherContent { found, .. } if found.starts_with("a52d159f")),
            "{error}"
        );
    }

    #[cfg(unix)]
    #[test]
    fn what_others_may_write_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let outer = tempfile::tempdir().unwrap();
        let inner = outer.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        let path = file(&inner);
        let mode = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        let refused = |place: &Path| match check(&path, None) {
            Err(LoadError::WritableByOthers { path, .. }) => path == place.canonicalize().unwrap(),
            _ => false,
        };
        mode(&inner, 0o755);
        mode(&path, 0o644);
        assert!(check(&path, None).is_ok());
        for open in [0o666, 0o664, 0o646] {
            mode(&path, open);
            assert!(refused(&path), "{open:o}");
        }
        mode(&path, 0o644);
        for open in [0o777, 0o775, 0o1777] {
            mode(&inner, open);
            assert!(refused(&inner), "{open:o}");
        }
        mode(&inner, 0o755);
        mode(outer.path(), 0o777);
        assert!(refused(outer.path()));
        mode(outer.path(), 0o1777);
        assert!(check(&path, None).is_ok());
        mode(outer.path(), 0o755);
        // A link in a folder that everybody writes.
        let open = outer.path().join("open");
        std::fs::create_dir(&open).unwrap();
        mode(&open, 0o777);
        let link = open.join("link.so");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(
            check(&link, None),
            Err(LoadError::WritableByOthers { .. })
        ));
    }
}
