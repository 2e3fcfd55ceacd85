//! The agent of launchd, on macOS: made from [`super::settings::Settings`]. Written from launchd.plist(5), and never run: there was no
//! machine to try it on.

use std::path::Path;

use super::settings::Settings;

/// Under which name launchd knows the service.
pub const LABEL: &str = "spool.drain";

/// The text of the property list; what the agent says goes to `log`.
pub fn plist(settings: &Settings, log: &Path) -> String {
    let mut words = String::new();
    for word in std::iter::once(&settings.program).chain(&settings.words) {
        words.push_str(&format!("    <string>{}</string>\n", escape(word)));
    }
    let mut environment = String::new();
    for (name, value) in &settings.environment {
        environment.push_str(&format!(
            "    <key>{}</key>\n    <string>{}</string>\n",
            escape(name),
            escape(value)
        ));
    }
    if !environment.is_empty() {
        environment = format!("  <key>EnvironmentVariables</key>\n  <dict>\n{environment}  </dict>\n");
    }
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n\
         <!-- spool {version}: made by `spool service install`, which makes it anew. -->\n\
         <plist version=\"1.0\">\n\
         <dict>\n\
         \x20 <key>Label</key>\n\
         \x20 <string>{LABEL}</string>\n\
         \x20 <key>ProgramArguments</key>\n\
         \x20 <array>\n\
         {words}\
         \x20 </array>\n\
         {environment}\
         \x20 <key>RunAtLoad</key>\n\
         \x20 <true/>\n\
         \x20 <key>KeepAlive</key>\n\
         \x20 <true/>\n\
         \x20 <key>ThrottleInterval</key>\n\
         \x20 <integer>10</integer>\n\
         \x20 <key>ExitTimeOut</key>\n\
         \x20 <integer>30</integer>\n\
         \x20 <key>ProcessType</key>\n\
         \x20 <string>Background</string>\n\
         \x20 <key>Umask</key>\n\
         \x20 <integer>63</integer>\n\
         \x20 <key>StandardErrorPath</key>\n\
         \x20 <string>{log}</string>\n\
         </dict>\n\
         </plist>\n",
        version = env!("CARGO_PKG_VERSION"),
        log = escape(&log.to_string_lossy()),
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::golden;

    #[test]
    fn the_property_list_is_what_it_was() {
        let log = Path::new("/Users/me/Library/Logs/spool.log");
        golden::same("plain.plist", &plist(&golden::plain(), log));
        golden::same("full.plist", &plist(&golden::full(), log));
    }
}
