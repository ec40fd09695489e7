//! Finds the secrets that the configuration refers to.

use std::path::{Path, PathBuf};

use calbridge_core::secret::{SecretError, SecretRef, SecretResolver};
use secrecy::SecretString;

/// The system's places for secrets. Nothing is kept: each question reads anew, so that a changed secret is
/// taken up.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SystemSecrets;

impl SecretResolver for SystemSecrets {
    fn resolve(&self, reference: &SecretRef) -> Result<SecretString, SecretError> {
        let found = match reference {
            SecretRef::Env(name) => environment(name),
            SecretRef::File(path) => file(Path::new(path)),
            SecretRef::Credential(name) => credential(name),
            SecretRef::Keyring { service, user } => keyring(service, user),
            _ => Err("this version does not know the kind of reference".to_owned()),
        };
        found.map_err(|reason| SecretError {
            reference: reference.to_string(),
            reason,
        })
    }
}

fn environment(name: &str) -> Result<SecretString, String> {
    match std::env::var(name) {
        Ok(value) if value.is_empty() => Err("the environment variable is empty".to_owned()),
        Ok(value) => Ok(value.into()),
        Err(std::env::VarError::NotPresent) => {
            Err("there is no such environment variable; set it for the service".to_owned())
        }
        Err(std::env::VarError::NotUnicode(_)) => {
            Err("the environment variable is not UTF-8 text".to_owned())
        }
    }
}

fn file(path: &Path) -> Result<SecretString, String> {
    let bytes = std::fs::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            "there is no such file; write the secret into it".to_owned()
        }
        std::io::ErrorKind::PermissionDenied => {
            "the file may not be read; give the account that calbridge runs under read access"
                .to_owned()
        }
        _ => format!("the file cannot be read: {error}"),
    })?;
    if readable_by_all(path) {
        tracing::warn!(
            path = %path.display(),
            "The file of a secret may be read by every account of this machine; take that right away."
        );
    }
    let mut text = String::from_utf8(bytes).map_err(|_| "the file is not UTF-8 text".to_owned())?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.is_empty() {
        return Err("the file is empty".to_owned());
    }
    Ok(text.into())
}

#[cfg(unix)]
fn readable_by_all(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}

#[cfg(not(unix))]
fn readable_by_all(_: &Path) -> bool {
    false
}

fn credential(name: &str) -> Result<SecretString, String> {
    let Some(folder) = std::env::var_os("CREDENTIALS_DIRECTORY") else {
        return Err(
            "there are no systemd credentials; start calbridge as a service with LoadCredential= or SetCredential="
                .to_owned(),
        );
    };
    if Path::new(name).components().count() != 1 || name.contains(['/', '\\']) || name == ".." {
        return Err("a credential's name may not be a path".to_owned());
    }
    file(&PathBuf::from(folder).join(name))
}

#[cfg(feature = "keyring")]
fn keyring(service: &str, user: &str) -> Result<SecretString, String> {
    // The Secret Service client blocks on a runtime of its own, which must not be nested in ours.
    let (service, user) = (service.to_owned(), user.to_owned());
    let asked = std::thread::spawn(move || {
        keyring::Entry::new(&service, &user).and_then(|entry| entry.get_password())
    });
    match asked.join() {
        Ok(Ok(secret)) => Ok(secret.into()),
        Ok(Err(keyring::Error::NoEntry)) => Err(
            "the keyring has no such entry; store it under the account that calbridge runs under"
                .to_owned(),
        ),
        Ok(Err(keyring::Error::NoDefaultStore | keyring::Error::NoStorageAccess(_))) => Err(
            "the system's keyring cannot be reached; unlock it, or keep the secret in a file"
                .to_owned(),
        ),
        Ok(Err(keyring::Error::Ambiguous(_))) => {
            Err("the keyring has several such entries; remove all but one".to_owned())
        }
        Ok(Err(keyring::Error::BadEncoding(_))) => Err("the secret is not UTF-8 text".to_owned()),
        // Other messages come from the platform and could repeat what is stored.
        Ok(Err(_)) => Err("the keyring refuses; look at it with the system's own tool".to_owned()),
        Err(_) => Err("asking the keyring failed; keep the secret in a file".to_owned()),
    }
}

#[cfg(not(feature = "keyring"))]
fn keyring(_: &str, _: &str) -> Result<SecretString, String> {
    Err("this calbridge was built without keyring support; keep the secret in a file".to_owned())
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn resolve(reference: &str) -> Result<String, String> {
        SystemSecrets
            .resolve(&reference.parse().unwrap())
            .map(|secret| secret.expose_secret().to_owned())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn one_line_break_at_the_end_of_a_file_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let reference = format!("file:{}", path.display());
        for (text, expected) in [
            ("hunter2", "hunter2"),
            ("hunter2\n", "hunter2"),
            ("hunter2\r\n", "hunter2"),
            ("hunter2\n\n", "hunter2\n"),
            (" hunter2 ", " hunter2 "),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(resolve(&reference).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_missing_is_named_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        let error = resolve(&format!("file:{}", missing.display())).unwrap_err();
        assert!(error.contains("missing"), "{error}");
        assert!(error.contains("no such file"), "{error}");
        let error = resolve("env:CALBRIDGE_TEST_NO_SUCH_VARIABLE").unwrap_err();
        assert!(
            error.contains("env:CALBRIDGE_TEST_NO_SUCH_VARIABLE"),
            "{error}"
        );
        let empty = folder.path().join("empty");
        std::fs::write(&empty, "\n").unwrap();
        let error = resolve(&format!("file:{}", empty.display())).unwrap_err();
        assert!(error.contains("is empty"), "{error}");
    }

    #[test]
    fn the_environment_is_asked() {
        let path = std::env::var("PATH").unwrap();
        assert_eq!(resolve("env:PATH").unwrap(), path);
    }

    #[test]
    fn an_entry_that_no_keyring_has_is_an_error_and_not_a_panic() {
        let error = resolve("keyring:calbridge-test/nobody").unwrap_err();
        assert!(error.contains("keyring:calbridge-test/nobody"), "{error}");
    }
}
