//! `wss://` to one certificate: the one whose SHA-256 fingerprint is pinned in the configuration.
//!
//! A gateway's certificate is usually its own, so names and authorities prove nothing here and are not asked.
//! What is proved: the peer holds the private key of exactly the pinned certificate. The cryptography provider is
//! named explicitly; nothing depends on what else the process has installed, and nothing panics.

use std::io;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use crate::classify;
use crate::config::Config;
use crate::identity::hex;
use crate::receiver::{Kind, Trouble};
use crate::socket::Wire;

/// Accepts one certificate.
#[derive(Debug)]
struct Pin {
    fingerprint: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pin {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if Sha256::digest(end_entity)[..] == self.fingerprint {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Reads a fingerprint: 64 hex digits, with or without colons, with or without a leading `sha256:`.
fn parse(text: &str) -> Option<[u8; 32]> {
    let lower = text.trim().to_ascii_lowercase();
    let digits: String =
        lower.strip_prefix("sha256:").unwrap_or(&lower).chars().filter(|c| *c != ':').collect();
    if digits.len() != 64 || !digits.is_ascii() {
        return None;
    }
    let mut bytes = [0u8; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    // `from_str_radix` takes a sign.
    (hex(&bytes) == digits).then_some(bytes)
}

/// Speaks TLS on `stream`, with the pinned certificate at the other end or not at all.
pub(crate) async fn wrap(config: &Config, host: &str, stream: TcpStream) -> Result<Box<dyn Wire>, Trouble> {
    let refused =
        |why: &str| Trouble::new(Kind::Refused, format!("cannot connect to {} with TLS: {why}", config.url));
    let fingerprint = config
        .tls_fingerprint
        .as_deref()
        .and_then(parse)
        .ok_or_else(|| refused("the pinned fingerprint is not a SHA-256 in hex"))?;
    let provider = Arc::new(ring::default_provider());
    let pin = Pin { fingerprint, provider: Arc::clone(&provider) };
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| refused(&error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(pin))
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(|_| refused("the host is not a name"))?;
    match TlsConnector::from(Arc::new(tls)).connect(name, stream).await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) if is_other_certificate(&error) => Err(refused(
            "the gateway shows another certificate than the pinned one; if it was renewed, pin the new fingerprint",
        )),
        Err(error) => Err(classify::io(&config.url, &error)),
    }
}

fn is_other_certificate(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    matches!(inner, Some(Error::InvalidCertificate(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_64_hex_digits() {
        let plain = "00ff".repeat(16);
        let bytes = parse(&plain).unwrap();
        assert_eq!((bytes[0], bytes[1]), (0, 255));
        let colons: Vec<&str> =
            plain.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap()).collect();
        assert_eq!(parse(&format!("SHA256:{}", colons.join(":").to_uppercase())), Some(bytes));
        for bad in ["", "00ff", &"zz".repeat(32), &"+f".repeat(32), &"ä".repeat(32)] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    /// A gateway with a certificate of its own; returns its URL and the certificate's fingerprint.
    async fn gateway() -> (String, String) {
        use crate::testpeer::{Peer, listen};
        use tokio_rustls::TlsAcceptor;
        use tokio_rustls::rustls::ServerConfig;
        use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

        let own = rcgen::generate_simple_self_signed(vec!["gateway.example".to_owned()]).unwrap();
        let certificate = own.cert.der().clone();
        let fingerprint = hex(&Sha256::digest(&certificate));
        let key = PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
        let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key.into())
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(server));
        let (listener, url) = listen().await;
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                let Ok(socket) = tokio_tungstenite::accept_async(stream).await else { continue };
                let mut peer = Peer(socket);
                let Some(connect) = peer.challenge().await else { continue };
                peer.hello(&connect, &["operator.write"], serde_json::json!({})).await;
                peer.linger().await;
            }
        });
        (url.replace("ws://", "wss://"), fingerprint)
    }

    #[tokio::test]
    async fn the_pinned_certificate_and_no_other() {
        use crate::connect::{Memory, connect};
        use crate::secret::{Secret, Source};
        let (url, fingerprint) = gateway().await;
        let mut config = Config::new(&url);
        config.token = Some(Source::Literal(Secret::new("a-token")));
        config.tls_fingerprint = Some(fingerprint.clone());
        assert_eq!(connect(&config, &Memory::default()).await.map(|up| up.hello.protocol).ok(), Some(4));

        config.tls_fingerprint = Some("00".repeat(32));
        let trouble = connect(&config, &Memory::default()).await.err().unwrap();
        assert!(trouble.kind == Kind::Refused && trouble.reason.contains("another certificate"), "{trouble}");

        config.tls_fingerprint = Some("not hex".into());
        let trouble = connect(&config, &Memory::default()).await.err().unwrap();
        assert!(trouble.kind == Kind::Refused && trouble.reason.contains("hex"), "{trouble}");
    }

    #[tokio::test]
    async fn a_peer_without_tls_is_not_a_refusal() {
        use crate::connect::{Memory, connect};
        let url = crate::testpeer::serve(|_, mut peer| async move { peer.linger().await }).await;
        let mut config = Config::new(url.replace("ws://", "wss://"));
        config.tls_fingerprint = Some("00".repeat(32));
        let trouble = connect(&config, &Memory::default()).await.err().unwrap();
        assert_eq!(trouble.kind, Kind::Unavailable, "{trouble}");
    }
}
