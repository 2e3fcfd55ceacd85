//! The device identity: an ed25519 key that signs the gateway's challenge, and the token the gateway gave for it.
//!
//! Both live in one directory of mode 0700, in files of mode 0600: `device.key` (the 32 secret bytes, base64url)
//! and `device.token` (JSON: which gateway, which token). What stays true: a file that others can read, that is
//! not a regular file or not ours is refused, not repaired; a key is written once and never replaced; a token is
//! replaced by a rename, so that a crash leaves the old one or the new one.
//!
//! The signed text and the derived id are those of protocol 3 and 4 (`v3|deviceId|clientId|…`).

use std::fmt::Write as _;
use std::fs::{DirBuilder, File, OpenOptions};
use std::hash::DefaultHasher;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ed25519_dalek::{Signer, SigningKey};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::secret::{Secret, read_regular, stamp_file};

const KEY_FILE: &str = "device.key";
const TOKEN_FILE: &str = "device.token";

/// A device: its key, and where its token is kept.
pub struct Identity {
    dir: PathBuf,
    key: SigningKey,
}

/// What a device signs, besides its own id.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Statement<'a> {
    pub client_id: &'a str,
    pub client_mode: &'a str,
    pub role: &'a str,
    pub scopes: &'a [&'a str],
    pub signed_at: u64,
    /// The token presented along with it, or nothing.
    pub token: &'a str,
    pub nonce: &'a str,
    pub platform: &'a str,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    gateway: String,
    device_token: String,
}

impl Identity {
    /// Reads the device's key from `dir`, or makes directory and key.
    ///
    /// # Errors
    /// A lowercase sentence with the path: not ours, readable by others, not a key, not writable.
    pub fn load_or_create(dir: &Path) -> Result<Identity, String> {
        let path = dir.join(KEY_FILE);
        let text = match read_private(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create(dir, &path).and_then(|()| read_private(&path))
            }
            other => other,
        };
        let text = text.map_err(|error| format!("cannot use the device key {}: {error}", path.display()))?;
        let mut seed = Zeroizing::new([0u8; 32]);
        match BASE64.decode_slice(text.trim(), &mut *seed) {
            Ok(32) => Ok(Identity { dir: dir.to_owned(), key: SigningKey::from_bytes(&seed) }),
            _ => Err(format!(
                "cannot use the device key {}: it is not a key; remove it to make a new one (and pair it)",
                path.display()
            )),
        }
    }

    /// The device's id: the SHA-256 of its public key, in hex.
    pub fn device_id(&self) -> String {
        hex(&Sha256::digest(self.key.verifying_key().as_bytes()))
    }

    /// The raw public key, base64url.
    pub fn public_key(&self) -> String {
        BASE64.encode(self.key.verifying_key().as_bytes())
    }

    /// Signs a statement; base64url.
    pub(crate) fn sign(&self, statement: &Statement<'_>) -> String {
        BASE64.encode(self.key.sign(signed_text(&self.device_id(), statement).as_bytes()).to_bytes())
    }

    /// The token that this gateway gave this device, if it is kept.
    ///
    /// # Errors
    /// A lowercase sentence with the path, when there is a file that must not be used.
    pub fn device_token(&self, gateway: &str) -> Result<Option<Secret>, String> {
        let path = self.dir.join(TOKEN_FILE);
        let text = match read_private(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("cannot use the device token {}: {error}", path.display())),
        };
        // An unreadable one is as good as none: the gateway gives a new one.
        let stored = serde_json::from_str::<Stored>(&text).ok();
        Ok(stored.filter(|stored| stored.gateway == gateway).map(|stored| Secret::new(stored.device_token)))
    }

    /// Keeps the token that this gateway gave this device.
    ///
    /// # Errors
    /// A lowercase sentence with the path.
    pub fn keep_device_token(&self, gateway: &str, token: &Secret) -> Result<(), String> {
        let stored = Stored { gateway: gateway.to_owned(), device_token: token.expose().to_owned() };
        let path = self.dir.join(TOKEN_FILE);
        serde_json::to_string(&stored)
            .map_err(io::Error::other)
            .and_then(|text| replace(&self.dir, &path, Zeroizing::new(text).as_bytes()))
            .map_err(|error| format!("cannot keep the device token in {}: {error}", path.display()))
    }
}

/// Mixes into `hasher` what changes when the key or the token in `dir` does.
pub(crate) fn stamp(dir: &Path, hasher: &mut DefaultHasher) {
    stamp_file(&dir.join(KEY_FILE), hasher);
    stamp_file(&dir.join(TOKEN_FILE), hasher);
}

/// The text that is signed. The last member, the device family, is empty.
fn signed_text(device_id: &str, s: &Statement<'_>) -> String {
    format!(
        "v3|{device_id}|{}|{}|{}|{}|{}|{}|{}|{}|",
        s.client_id,
        s.client_mode,
        s.role,
        s.scopes.join(","),
        s.signed_at,
        s.token,
        s.nonce,
        s.platform.to_ascii_lowercase(),
    )
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

/// Reads a file that must be ours alone.
fn read_private(path: &Path) -> io::Result<Zeroizing<String>> {
    let (file, text) = read_regular(path, OFlags::NOFOLLOW)?;
    let meta = file.metadata()?;
    if meta.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other("it belongs to somebody else"));
    }
    if meta.mode() & 0o077 != 0 {
        return Err(io::Error::other("others may read or write it; make it private (chmod 600)"));
    }
    Ok(text)
}

/// Makes the directory and a new key in it. Another process that is first wins.
fn create(dir: &Path, path: &Path) -> io::Result<()> {
    match DirBuilder::new().recursive(true).mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let mut seed = Zeroizing::new([0u8; 32]);
    getrandom::fill(&mut *seed).map_err(io::Error::other)?;
    let text = Zeroizing::new(format!("{}\n", BASE64.encode(*seed)));
    let temporary = write_temporary(dir, text.as_bytes())?;
    // A link never overwrites: a key that is there already may be paired.
    let linked = match std::fs::hard_link(&temporary, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    };
    std::fs::remove_file(&temporary)?;
    linked?;
    File::open(dir)?.sync_all()
}

/// Puts `bytes` in the place of `path`, or leaves it as it was.
fn replace(dir: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = write_temporary(dir, bytes)?;
    if let Err(error) = rustix::fs::rename(&temporary, path) {
        std::fs::remove_file(&temporary)?;
        return Err(error.into());
    }
    File::open(dir)?.sync_all()
}

fn write_temporary(dir: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
    let path = dir.join(format!(".{}.tmp", uuid::Uuid::now_v7().simple()));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags((OFlags::NOFOLLOW | OFlags::CLOEXEC).bits() as i32)
        .open(&path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if let Err(error) = written {
        std::fs::remove_file(&path)?;
        return Err(error);
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::{Signature, Verifier};
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    const STATEMENT: Statement<'_> = Statement {
        client_id: "cli",
        client_mode: "cli",
        role: "operator",
        scopes: &["operator.write", "operator.admin"],
        signed_at: 1_795_415_532_394,
        token: "tok",
        nonce: "47c32f8a",
        platform: "Linux",
    };

    #[test]
    fn the_signed_text_is_that_of_the_protocol() {
        assert_eq!(
            signed_text("ab", &STATEMENT),
            "v3|ab|cli|cli|operator|operator.write,operator.admin|1795415532394|tok|47c32f8a|linux|"
        );
    }

    // RFC 8032, section 7.1, test 1: this seed has this public key.
    #[test]
    fn a_known_key_gives_the_known_public_key_and_id() {
        let seed = [
            0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4,
            0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
        ];
        let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        let identity = Identity { dir: PathBuf::new(), key: SigningKey::from_bytes(&seed) };
        assert_eq!(hex(identity.key.verifying_key().as_bytes()), public);
        assert_eq!(identity.device_id(), hex(&Sha256::digest(identity.key.verifying_key().as_bytes())));
        assert_eq!(identity.device_id().len(), 64);
        let signature = BASE64.decode(identity.sign(&STATEMENT)).unwrap();
        let signature = Signature::from_slice(&signature).unwrap();
        let text = signed_text(&identity.device_id(), &STATEMENT);
        identity.key.verifying_key().verify(text.as_bytes(), &signature).unwrap();
    }

    #[test]
    fn a_key_is_made_once_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("a/b");
        let first = Identity::load_or_create(&dir).unwrap();
        let again = Identity::load_or_create(&dir).unwrap();
        assert_eq!(first.device_id(), again.device_id());
        assert_eq!((mode(&dir), mode(&dir.join(KEY_FILE))), (0o700, 0o600));
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1, "no temporary files are left");
        // A second maker finds the first one's key and keeps it.
        create(&dir, &dir.join(KEY_FILE)).unwrap();
        assert_eq!(first.device_id(), Identity::load_or_create(&dir).unwrap().device_id());
    }

    #[test]
    fn a_key_others_can_read_a_link_and_garbage_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let why = |dir: &Path| Identity::load_or_create(dir).err().unwrap();
        let key = dir.path().join(KEY_FILE);
        Identity::load_or_create(dir.path()).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(why(dir.path()).contains("chmod 600"), "{}", why(dir.path()));

        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&key, "short").unwrap();
        assert!(why(dir.path()).contains("not a key"), "{}", why(dir.path()));
        assert!(!why(dir.path()).contains("short"));

        let other = tempfile::tempdir().unwrap();
        symlink(&key, other.path().join(KEY_FILE)).unwrap();
        assert!(why(other.path()).contains(KEY_FILE), "{}", why(other.path()));
    }

    #[test]
    fn a_token_belongs_to_its_gateway_and_is_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity::load_or_create(dir.path()).unwrap();
        assert_eq!(identity.device_token("ws://a").unwrap(), None);
        identity.keep_device_token("ws://a", &Secret::new("one")).unwrap();
        identity.keep_device_token("ws://a", &Secret::new("two")).unwrap();
        assert_eq!(identity.device_token("ws://a").unwrap(), Some(Secret::new("two")));
        assert_eq!(identity.device_token("ws://b").unwrap(), None);
        let path = dir.path().join(TOKEN_FILE);
        assert_eq!(mode(&path), 0o600);
        std::fs::write(&path, "{half").unwrap();
        assert_eq!(identity.device_token("ws://a").unwrap(), None);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o604)).unwrap();
        assert!(identity.device_token("ws://a").unwrap_err().contains("chmod 600"));
    }
}
