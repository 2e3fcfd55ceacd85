//! `connect`: who may come in, and what hello-ok says.
//!
//! Pure. Captured from the real gateway: parameters are strict (1008), the protocol has to span 4 (1002), a wrong
//! token is `AUTH_TOKEN_MISMATCH` (1008), a starting gateway says so (1013), and without a device identity only
//! `gateway-client/backend` and `cli/cli` keep the scopes they ask for.
//! A device has to sign the challenge: its id is the hash of its key, the text is v3 or v2 of the protocol's.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, VerifyingKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::errors;
use super::options::{Options, Phase};
use super::params::METHODS;

/// A refused `connect`.
#[derive(Debug)]
pub(super) struct Refusal {
    pub error: Value,
    pub close: u16,
    pub reason: &'static str,
}

/// A client that may come in.
#[derive(Debug)]
pub(super) struct Admitted {
    pub mode: String,
    pub scopes: Vec<String>,
    /// The device and its token, if this connect issued one.
    pub issued: Option<(String, String)>,
    pub method: &'static str,
}

/// What is known of a device: its token and the scopes that go with it.
pub(super) type Known<'a> = &'a dyn Fn(&str) -> Option<(String, Vec<String>)>;

const FIELDS: &[&str] = &[
    "minProtocol",
    "maxProtocol",
    "client",
    "caps",
    "commands",
    "permissions",
    "pathEnv",
    "role",
    "scopes",
    "device",
    "auth",
    "locale",
    "userAgent",
];
const CLIENT: &[&str] =
    &["id", "displayName", "version", "platform", "deviceFamily", "modelIdentifier", "mode", "instanceId"];
const DEVICE: &[&str] = &["id", "publicKey", "signature", "signedAt", "nonce"];
const AUTH: &[&str] = &["token", "bootstrapToken", "deviceToken", "password", "approvalRuntimeToken"];
const IDS: &[&str] = &[
    "webchat-ui",
    "openclaw-control-ui",
    "openclaw-tui",
    "webchat",
    "cli",
    "gateway-client",
    "openclaw-macos",
    "openclaw-linux",
    "node-host",
    "test",
    "fingerprint",
    "openclaw-probe",
];
const MODES: &[&str] = &["webchat", "cli", "ui", "backend", "node", "worker", "probe", "test"];

/// Decides about one `connect`.
pub(super) fn decide(
    params: &Value,
    nonce: &str,
    options: &Options,
    phase: Phase,
    known: Known<'_>,
) -> Result<Admitted, Refusal> {
    if phase == Phase::Starting {
        return Err(Refusal { error: errors::starting(), close: 1013, reason: "gateway starting" });
    }
    shape(params).map_err(|what| Refusal {
        error: errors::invalid(format!("invalid connect params: {what}")),
        close: 1008,
        reason: "invalid connect params",
    })?;
    let bound = |name: &str| params[name].as_u64().unwrap_or(0);
    if !(bound("minProtocol") <= 4 && 4 <= bound("maxProtocol")) {
        let mut error = errors::refused("PROTOCOL_MISMATCH", "protocol mismatch");
        error["details"]["expectedProtocol"] = json!(4);
        return Err(Refusal { error, close: 1002, reason: "protocol mismatch" });
    }
    let client = &params["client"];
    let pair = (client["id"].as_str().unwrap_or(""), client["mode"].as_str().unwrap_or(""));
    let asked: Vec<String> = serde_json::from_value(params["scopes"].clone()).unwrap_or_default();
    let device = params.get("device");
    if let Some(device) = device
        && device["nonce"].as_str() != Some(nonce)
    {
        return Err(deny("DEVICE_AUTH_NONCE_MISMATCH", "device nonce mismatch"));
    }
    if let Some(device) = device
        && !signed(device, params)
    {
        return Err(deny("DEVICE_AUTH_SIGNATURE_INVALID", "device signature invalid"));
    }
    let device_id = device.and_then(|d| d["id"].as_str());
    let auth = |field: &str| params["auth"][field].as_str();
    let shown = auth("token").or_else(|| auth("password"));
    let shared = options.token.as_deref().is_none_or(|token| shown == Some(token));
    let by_device = || {
        let (token, scopes) = known(device_id?)?;
        [auth("deviceToken"), auth("token")].contains(&Some(token.as_str())).then_some(scopes)
    };
    if !shared {
        let Some(scopes) = by_device() else {
            return Err(deny(
                "AUTH_TOKEN_MISMATCH",
                "unauthorized: gateway token mismatch (provide gateway auth token)",
            ));
        };
        if !asked.iter().all(|s| scopes.contains(s)) {
            return Err(deny("AUTH_SCOPE_MISMATCH", "unauthorized: scope upgrade needs approval"));
        }
        return Ok(Admitted { mode: pair.1.into(), scopes: asked, issued: None, method: "device-token" });
    }
    if options.device_required && device.is_none() {
        let mut error = errors::refused("DEVICE_IDENTITY_REQUIRED", "device identity required");
        error["code"] = json!("NOT_PAIRED");
        return Err(Refusal { error, close: 1008, reason: "device identity required" });
    }
    let keeps = device.is_some() || matches!(pair, ("gateway-client", "backend") | ("cli", "cli"));
    let mut scopes = if keeps { asked } else { Vec::new() };
    if let Some(granted) = &options.granted_scopes {
        scopes = granted.clone();
    }
    // A backend helper leaves no pairing record behind; a cli device is approved and gets its own token.
    let issued = device_id.filter(|_| pair == ("cli", "cli")).map(|id| {
        let token = known(id).map_or_else(|| Uuid::now_v7().simple().to_string(), |(token, _)| token);
        (id.to_owned(), token)
    });
    Ok(Admitted { mode: pair.1.into(), scopes, issued, method: "token" })
}

/// Whether the device's key made its id and signed this connect.
fn signed(device: &Value, params: &Value) -> bool {
    let bytes = |field: &str| BASE64_URL_SAFE_NO_PAD.decode(device[field].as_str().unwrap_or("")).ok();
    let check = || {
        let key: [u8; 32] = bytes("publicKey")?.try_into().ok()?;
        let signature = Signature::from_slice(&bytes("signature")?).ok()?;
        let id = Sha256::digest(key).iter().fold(String::new(), |mut hex, byte| {
            // Writing to a String cannot fail.
            write!(hex, "{byte:02x}").ok();
            hex
        });
        let key = VerifyingKey::from_bytes(&key).ok()?;
        let by =
            |version: &str| key.verify_strict(text(version, device, params).as_bytes(), &signature).is_ok();
        Some(device["id"] == id && (by("v3") || by("v2")))
    };
    check().unwrap_or(false)
}

/// The text a device signs.
fn text(version: &str, device: &Value, params: &Value) -> String {
    let client = &params["client"];
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let scopes: Vec<String> = serde_json::from_value(params["scopes"].clone()).unwrap_or_default();
    let auth = &params["auth"];
    let token = ["token", "deviceToken", "bootstrapToken"].iter().find_map(|field| auth[*field].as_str());
    let mut parts = vec![
        version.to_owned(),
        text(&device["id"]),
        text(&client["id"]),
        text(&client["mode"]),
        params["role"].as_str().unwrap_or("operator").to_owned(),
        scopes.join(","),
        device["signedAt"].to_string(),
        token.unwrap_or("").to_owned(),
        text(&device["nonce"]),
    ];
    if version == "v3" {
        parts.extend([text(&client["platform"]), text(&client["deviceFamily"])]);
    }
    parts.join("|")
}

fn deny(code: &str, message: &'static str) -> Refusal {
    Refusal { error: errors::refused(code, message), close: 1008, reason: message }
}

fn shape(params: &Value) -> Result<(), String> {
    only(params, "root", FIELDS)?;
    only(&params["client"], "/client", CLIENT)?;
    for field in ["minProtocol", "maxProtocol"] {
        if params[field].as_u64().is_none_or(|n| n < 1) {
            return Err(format!("at /{field}: must be integer"));
        }
    }
    for field in ["id", "version", "platform", "mode"] {
        if params["client"][field].as_str().is_none_or(str::is_empty) {
            return Err(format!("at /client: must have required property '{field}'"));
        }
    }
    if !IDS.contains(&params["client"]["id"].as_str().unwrap_or("")) {
        return Err("at /client/id: must be equal to constant".into());
    }
    if !MODES.contains(&params["client"]["mode"].as_str().unwrap_or("")) {
        return Err("at /client/mode: must be equal to constant".into());
    }
    if let Some(auth) = params.get("auth") {
        only(auth, "/auth", AUTH)?;
    }
    if let Some(device) = params.get("device") {
        only(device, "/device", DEVICE)?;
        for field in ["id", "publicKey", "signature", "nonce"] {
            if device[field].as_str().is_none_or(str::is_empty) {
                return Err(format!("at /device: must have required property '{field}'"));
            }
        }
        if !device["signedAt"].is_u64() {
            return Err("at /device/signedAt: must be integer".into());
        }
    }
    Ok(())
}

fn only(value: &Value, at: &str, fields: &[&str]) -> Result<(), String> {
    let Some(object) = value.as_object() else { return Err(format!("at {at}: must be object")) };
    match object.keys().find(|k| !fields.contains(&k.as_str())) {
        Some(field) => Err(format!("at {at}: unexpected property '{field}'")),
        None => Ok(()),
    }
}

/// hello-ok.
pub(super) fn hello(admitted: &Admitted, options: &Options, boot_id: &str, conn_id: u64) -> Value {
    let methods: Vec<&str> = METHODS.iter().map(|m| m.name).collect();
    let tick = u64::try_from(options.tick.as_millis()).unwrap_or(u64::MAX);
    let mut auth = json!({"method": admitted.method, "role": "operator", "scopes": admitted.scopes});
    if let Some((_, token)) = &admitted.issued {
        auth["deviceToken"] = json!(token);
    }
    json!({"type": "hello-ok", "protocol": 4,
        "server": {"version": options.version, "bootId": boot_id, "connId": format!("c{conn_id}")},
        "features": {"methods": methods, "capabilities": [],
            "events": ["tick", "agent", "chat", "session.message", "shutdown"]},
        "snapshot": {}, "auth": auth,
        "policy": {"maxPayload": options.max_payload, "maxBufferedBytes": 2 * options.max_payload,
            "tickIntervalMs": tick}})
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::{Signer, SigningKey};

    fn connect() -> Value {
        json!({"minProtocol": 4, "maxProtocol": 4, "role": "operator", "scopes": ["operator.write"], "caps": [],
            "client": {"id": "gateway-client", "version": "0.1.0", "platform": "linux", "mode": "backend"},
            "auth": {"token": "t"}})
    }

    fn ask(params: &Value, options: &Options) -> Result<Admitted, Refusal> {
        decide(params, "n", options, Phase::Ready, &|_| None)
    }

    #[test]
    fn token_protocol_and_shape_are_checked() {
        let options = Options::with_token("t");
        assert_eq!(ask(&connect(), &options).unwrap().scopes, ["operator.write"]);
        let mut wrong = connect();
        wrong["auth"]["token"] = json!("x");
        let refusal = ask(&wrong, &options).unwrap_err();
        assert_eq!((refusal.close, &refusal.error["details"]["code"]), (1008, &json!("AUTH_TOKEN_MISMATCH")));
        let mut old = connect();
        old["maxProtocol"] = json!(3);
        old["minProtocol"] = json!(3);
        let refusal = ask(&old, &options).unwrap_err();
        assert_eq!((refusal.close, &refusal.error["details"]["expectedProtocol"]), (1002, &json!(4)));
        let mut strict = connect();
        strict["client"]["extra"] = json!(1);
        assert_eq!(ask(&strict, &options).unwrap_err().close, 1008);
        let starting = decide(&connect(), "n", &options, Phase::Starting, &|_| None).unwrap_err();
        assert_eq!((starting.close, &starting.error["retryAfterMs"]), (1013, &json!(500)));
    }

    #[test]
    fn scopes_without_a_device_depend_on_who_asks() {
        let options = Options::with_token("t");
        let mut probe = connect();
        probe["client"]["mode"] = json!("probe");
        assert!(ask(&probe, &options).unwrap().scopes.is_empty());
        let id = sign(&mut probe, "v3");
        assert_eq!(id.len(), 64);
        assert_eq!(ask(&probe, &options).unwrap().scopes, ["operator.write"]);
        sign(&mut probe, "v2");
        assert_eq!(ask(&probe, &options).unwrap().scopes, ["operator.write"]);
        let code = |p: &Value| ask(p, &options).unwrap_err().error["details"]["code"].clone();
        let mut stale = probe.clone();
        stale["device"]["nonce"] = json!("stale");
        assert_eq!(code(&stale), "DEVICE_AUTH_NONCE_MISMATCH");
        probe["scopes"] = json!(["operator.admin"]);
        assert_eq!(code(&probe), "DEVICE_AUTH_SIGNATURE_INVALID", "what was signed was less");
    }

    /// Signs with a fixed key; the device's id.
    fn sign(params: &mut Value, version: &str) -> String {
        let key = SigningKey::from_bytes(&[7; 32]);
        let public = key.verifying_key().to_bytes();
        let id: String = Sha256::digest(public).iter().map(|b| format!("{b:02x}")).collect();
        params["device"] = json!({"id": id, "publicKey": BASE64_URL_SAFE_NO_PAD.encode(public), "signature": "",
            "signedAt": 1, "nonce": "n"});
        let signature = key.sign(text(version, &params["device"], params).as_bytes());
        params["device"]["signature"] = json!(BASE64_URL_SAFE_NO_PAD.encode(signature.to_bytes()));
        id
    }

    #[test]
    fn a_device_token_opens_only_with_its_device_and_scopes() {
        let options = Options::with_token("t");
        let mut params = connect();
        let ours = sign(&mut params.clone(), "v3");
        let known = |id: &str| (id == ours).then(|| ("dt".to_owned(), vec!["operator.read".to_owned()]));
        params["auth"]["token"] = json!("dt");
        let ask = |params: &Value| decide(params, "n", &options, Phase::Ready, &known);
        let code = |r: Result<Admitted, Refusal>| r.unwrap_err().error["details"]["code"].clone();
        assert_eq!(code(ask(&params)), "AUTH_TOKEN_MISMATCH");
        sign(&mut params, "v3");
        assert_eq!(code(ask(&params)), "AUTH_SCOPE_MISMATCH");
        params["scopes"] = json!(["operator.read"]);
        sign(&mut params, "v3");
        assert_eq!(ask(&params).unwrap().method, "device-token");
    }
}
