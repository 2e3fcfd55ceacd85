use super::*;
use std::time::Duration;

struct Home(tempfile::TempDir);

impl Home {
    fn new(text: &str) -> Home {
        let home = Home(tempfile::tempdir().unwrap());
        std::fs::create_dir_all(home.0.path().join(".config/spool")).unwrap();
        std::fs::write(home.path(), text).unwrap();
        home
    }

    fn path(&self) -> PathBuf {
        self.0.path().join(".config/spool/config.toml")
    }

    fn env<'a>(&'a self, vars: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<OsString> + 'a {
        move |name| {
            let said = vars.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v));
            said.or_else(|| (name == "HOME").then(|| self.0.path().into()))
        }
    }

    fn load(&self, args: &Args, vars: &[(&str, &str)]) -> Result<Config, String> {
        Config::load(args, &self.env(vars)).map_err(|failure| {
            assert_eq!(failure.exit, exit::CONFIG);
            failure.message
        })
    }
}

#[test]
fn the_first_that_says_something_holds() {
    let home = Home::new("[gateway]\nurl = \"ws://127.0.0.1:3\"\n[log]\nlevel = \"error\"\n");
    let flag = Args { gateway: Some("ws://127.0.0.1:1".into()), verbose: true, ..Args::default() };
    let vars = [("SPOOL_GATEWAY", "ws://127.0.0.1:2"), ("SPOOL_LOG", "trace")];
    let said = |args: &Args, vars: &[(&str, &str)]| {
        let config = home.load(args, vars).unwrap();
        ["gateway.url", "log.level", "retention.done"].map(|name| config.said(name).map(str::to_owned))
    };
    let is = |a: &str, b: &str| [Some(a.to_owned()), Some(b.to_owned()), None];
    assert_eq!(said(&flag, &vars), is("ws://127.0.0.1:1", "debug"));
    assert_eq!(said(&Args::default(), &vars), is("ws://127.0.0.1:2", "trace"));
    assert_eq!(said(&Args::default(), &[]), is("ws://127.0.0.1:3", "error"));
    assert_eq!(home.load(&Args::default(), &[]).unwrap().in_file("log.level"), Some("error"));
}

#[test]
fn what_the_agent_works_by_is_what_was_said() {
    let none = Args::default();
    let settings = Home::new("").load(&none, &[]).unwrap().settings();
    let budget = settings.rules.budget("any").unwrap();
    assert_eq!((budget.deliveries, budget.period), (12, Duration::from_secs(600)));
    let defaults = spool_drain::Options::default().settings();
    assert_eq!((settings.quiet, settings.retention), (defaults.quiet, defaults.retention));
    assert_eq!(settings.log_age, defaults.log_age);
    let home = Home::new(
        "[retention]\ndone = \"1d\"\nlogs = \"2w\"\n[default]\nwindow = \"9s\"\nbudget = \"off\"\n\
         [session.\"agent:x:\"]\nbudget = \"3 in 1m\"\nwindow = \"1s\"\nfallback = \"agent:main:main\"\n",
    );
    let settings = home.load(&none, &[]).unwrap().settings();
    assert_eq!(settings.retention, Duration::from_secs(86_400));
    assert_eq!(settings.dismissed_retention, defaults.dismissed_retention);
    assert_eq!(settings.log_age, Duration::from_secs(14 * 86_400));
    assert_eq!((settings.quiet.time, settings.quiet.most), (Duration::from_secs(9), Duration::from_secs(9)));
    assert_eq!(settings.rules.budget("agent:y:1"), None);
    assert_eq!(settings.rules.budget("agent:x:1").unwrap().deliveries, 3);
    assert_eq!(settings.rules.window("agent:x:1", settings.quiet).time, Duration::from_secs(1));
    assert_eq!(settings.rules.fallback("agent:x:1").as_deref(), Some("agent:main:main"));
    let settings = home.load(&none, &[("SPOOL_BUDGET", "5 in 1h")]).unwrap().settings();
    assert_eq!(
        settings.rules.budget("agent:y:1").unwrap().deliveries,
        5,
        "the environment stands above the file"
    );
    assert_eq!(settings.rules.budget("agent:x:1").unwrap().deliveries, 3, "and beneath a session's own");
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let none = Args::default();
    let home = Home::new("\nspol = \"/s\"\n");
    let why = home.load(&none, &[]).unwrap_err();
    assert!(why.contains(".config/spool/config.toml: line 2: ") && why.contains("is it spool?"), "{why}");
    assert!(home.load(&none, &[("SPOOL_CONFIG", "/nowhere.toml")]).unwrap_err().contains("/nowhere.toml"));
    let why = Home::new("").load(&none, &[("SPOOL_BUDGET", "lots")]).unwrap_err();
    assert!(why.starts_with("SPOOL_BUDGET must be"), "{why}");
    let why = Home::new("\"spool\" = \"\"\"/s\"\"\"\n").load(&none, &[]).unwrap_err();
    assert!(why.contains("line 1"), "{why}");
    let why = Home::new("[gateway]\nspool = \"/s\"\n").load(&none, &[]).unwrap_err();
    assert!(why.contains("no key \"spool\" in [gateway]"), "{why}");
}

#[test]
fn a_configuration_that_others_may_write_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new("");
    for (mode, is_right) in [(0o600, true), (0o664, true), (0o666, false)] {
        std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(home.load(&Args::default(), &[]).is_ok(), is_right, "{mode:o}");
    }
}

/// The page that explains the settings has a row for each, with its default and what says it.
#[test]
fn the_page_and_the_table_agree() {
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md")).unwrap();
    let mut rows: Vec<Vec<&str>> = Vec::new();
    for line in page.lines().filter(|line| line.starts_with("| `")) {
        rows.push(line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`')).collect());
    }
    for key in KEYS {
        let found: Vec<_> = rows.iter().filter(|row| row[0] == key.name).collect();
        let [row] = found.as_slice() else { panic!("{} has {} rows", key.name, found.len()) };
        assert_eq!(row[1], key.default.trim_matches(['[', ']']), "the default of {}", key.name);
        for name in
            key.options.iter().map(|o| format!("--{o}")).chain(key.env.iter().map(|e| (*e).to_owned()))
        {
            assert!(row[2].contains(&name), "{}: {name} is missing in {:?}", key.name, row[2]);
        }
        assert!(row[3].len() > 10, "{} is not explained", key.name);
    }
    let named = |name: &str| KEYS.iter().any(|key| key.name == name);
    for row in rows.iter().filter(|row| row.len() == 4 && row[0].contains('.') || row[0] == "spool") {
        assert!(named(row[0]), "there is no setting {}", row[0]);
    }
}

/// The example of the page is one that the reader takes.
#[test]
fn the_examples_of_the_page_are_right() {
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md")).unwrap();
    let examples: Vec<&str> =
        page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() >= 2);
    for example in examples {
        Home::new(example).load(&Args::default(), &[]).unwrap();
    }
}
