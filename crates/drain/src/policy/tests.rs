use super::*;

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

fn record(rest: &str) -> Record {
    Record::parse(format!(r#"{{"sessionKey":"s","text":"x"{rest}}}"#).as_bytes()).unwrap()
}

fn hours(text: &str) -> Rule {
    Rule { quiet_hours: Some(Some(text.parse().unwrap())), ..Rule::default() }
}

fn rules(sessions: &[(&str, Rule)]) -> Rules {
    let sessions = sessions.iter().map(|(prefix, rule)| ((*prefix).to_owned(), rule.clone()));
    Rules::new(Rule::default(), sessions, BTreeMap::new())
}

#[test]
fn for_each_setting_the_longest_prefix_that_says_it_wins() {
    let deliver = |deliver| Rule { deliver: Some(deliver), ..Rule::default() };
    let window = |s| Rule { window: Some(Duration::from_secs(s)), ..Rule::default() };
    let rules = Rules::new(
        deliver(Deliver::Note),
        [
            ("agent:main:".to_owned(), deliver(Deliver::Message)),
            ("agent:main:telegram:".to_owned(), window(9)),
            ("agent:main:telegram:direct:7".to_owned(), deliver(Deliver::Turn)),
        ],
        BTreeMap::new(),
    );
    let unsaid = record("");
    let beneath = Quiet { time: Duration::from_millis(250), most: Duration::from_secs(2) };
    for (session, mode, seconds) in [
        ("agent:other:main", Deliver::Note, 0),
        ("agent:main:main", Deliver::Message, 0),
        ("agent:main:telegram:group:1", Deliver::Message, 9),
        ("agent:main:telegram:direct:77", Deliver::Turn, 9),
    ] {
        assert_eq!(rules.deliver(session, &unsaid), mode, "{session}");
        let window = rules.window(session, beneath);
        assert_eq!(window.time.as_secs(), seconds, "{session}");
        assert!(window.most >= window.time && window.most >= Duration::from_secs(2));
        assert_eq!(rules.deliver(session, &record(r#","deliver":"turn""#)), Deliver::Turn);
    }
    assert_eq!(Rules::default().deliver("s", &unsaid), Deliver::Turn);
}

#[test]
fn in_quiet_hours_successes_wait_and_failures_and_urgent_ones_do_not() {
    let rules = rules(&[("s", hours("22:00-07:00 UTC"))]);
    let at = |hour: u64| 20_000 * DAY + hour * HOUR;
    let decide = |rest: &str, now| rules.decide("s", &record(rest), None, now);
    let end = at(24 + 7);
    for rest in ["", r#","status":"ok""#, r#","status":"info""#] {
        assert_eq!(decide(rest, at(21)), Decision::Go);
        assert_eq!(decide(rest, at(22)), Decision::Wait(end));
        assert_eq!(decide(rest, at(24 + 6)), Decision::Wait(end));
        assert_eq!(decide(rest, end), Decision::Go);
    }
    for rest in ["failed", "timeout", "lost", "cancelled", "ok\",\"urgent\":true,\"label\":\"x"]
        .map(|s| format!(",\"status\":\"{s}\""))
    {
        assert_eq!(decide(&rest, at(23)), Decision::Go, "{rest}");
    }
    assert_eq!(rules.decide("t", &record(""), None, at(23)), Decision::Go, "another session");
}

#[test]
fn a_rule_may_take_the_quiet_hours_back() {
    let none = Rule { quiet_hours: Some(None), ..Rule::default() };
    let rules = Rules::new(hours("00:00-23:59 UTC"), [("s".to_owned(), none)], BTreeMap::new());
    assert_eq!(rules.decide("s", &record(""), None, 20_000 * DAY), Decision::Go);
    assert_ne!(rules.decide("t", &record(""), None, 20_000 * DAY), Decision::Go);
}

#[test]
fn hours_know_their_place() {
    let at = |hour: u64| 20_000 * DAY + hour * HOUR;
    let end = |text: &str, now| text.parse::<Hours>().unwrap().until(now);
    assert_eq!(end("08:00-12:00 UTC", at(8)), Some(at(12)));
    assert_eq!(end("08:00-12:00 UTC", at(12)), None);
    assert_eq!(end("08:00-12:00 +02:00", at(6)), Some(at(10)));
    assert_eq!(end("08:00-12:00 -05:30", at(14)), Some(at(17) + HOUR / 2));
    assert_eq!(end("08:00-12:00 -05:30", at(13)), None);
    assert_eq!(end("22:00-07:00 Z", at(1)), Some(at(7)));
    for bad in [
        "",
        "22-7",
        "22:00",
        "22:00-24:00",
        "7:00-8:00",
        "22:00-07:00 Nowhere/Else",
        "07:00-07:00",
        "a:b-c:d",
    ] {
        assert!(bad.parse::<Hours>().is_err(), "{bad}");
    }
    for good in ["22:00-07:00", "22:00-07:00 +02:00"] {
        assert_eq!(good.parse::<Hours>().unwrap().to_string(), good);
    }
    // Whatever the zone of the machine: a day has both sides.
    let local: Hours = "22:00-07:00".parse().unwrap();
    let inside = (0..24).filter_map(|h| local.until(at(h)).map(|end| (at(h), end)));
    let inside: Vec<_> = inside.collect();
    assert!(inside.len() >= 8 && inside.len() <= 10, "{inside:?}");
    assert!(inside.iter().all(|(now, end)| end > now && end - now <= 10 * HOUR));
}

#[test]
fn a_user_writes_only_for_the_sessions_that_were_named() {
    let allow = BTreeMap::from([(1001, vec!["agent:ci:".to_owned()]), (0, vec![])]);
    let rules = Rules::new(Rule::default(), [], allow);
    let decide = |session, owner| rules.decide(session, &record(""), owner, 0);
    assert_eq!(decide("agent:ci:main", Some(1001)), Decision::Go);
    let Decision::Hold(why) = decide("agent:main:main", Some(1001)) else { panic!() };
    assert!(why.contains("user 1001") && why.contains("agent:main:main"), "{why}");
    assert!(matches!(decide("agent:ci:main", Some(0)), Decision::Hold(_)), "the owner may be named too");
    assert_eq!(decide("agent:main:main", Some(1002)), Decision::Go, "not named: for others to refuse");
    assert_eq!(rules.writers(), [0, 1001]);
}

#[test]
fn a_session_is_not_its_own_fallback() {
    let to = |key: &str| Rule { fallback: Some(Some(key.into())), ..Rule::default() };
    let rules =
        Rules::new(to("agent:main:main"), [("agent:x:".to_owned(), to("agent:x:main"))], BTreeMap::new());
    assert_eq!(rules.fallback("agent:y:1").as_deref(), Some("agent:main:main"));
    assert_eq!(rules.fallback("agent:x:1").as_deref(), Some("agent:x:main"));
    assert_eq!(rules.fallback("agent:x:main"), None);
    assert_eq!(Rules::default().fallback("s"), None);
}

#[test]
fn beyond_the_budget_the_pause_grows_and_stays_within_half_the_period() {
    let budget = Budget { deliveries: 12, period: Duration::from_secs(600) };
    assert_eq!(budget.pause(11), None);
    let seconds: Vec<u64> = (12..17).map(|n| budget.pause(n).unwrap().as_secs()).collect();
    assert_eq!(seconds, [50, 100, 200, 300, 300]);
    assert_eq!(budget.pause(usize::MAX).unwrap().as_secs(), 300);
    let one = Budget { deliveries: 1, period: Duration::from_secs(60) };
    assert_eq!(one.pause(1).unwrap().as_secs(), 60);
}

#[test]
fn a_storm_is_kept_near_its_budget_and_a_calm_session_feels_nothing() {
    let budget = Budget { deliveries: 12, period: Duration::from_secs(600) };
    let (storm, calm): (Arc<str>, Arc<str>) = (Arc::from("storm"), Arc::from("calm"));
    let mut ledger = Ledger::default();
    let start = Instant::now();
    // A record every second for an hour: one goes out whenever the pause is over.
    let (mut free_at, mut made) = (start, Vec::new());
    for second in 0..3600 {
        let now = start + Duration::from_secs(second);
        if now >= free_at {
            made.push(second);
            free_at = now + ledger.note(&storm, budget, now).map_or(Duration::ZERO, |(pause, _)| pause);
        }
        if second % 60 == 0 {
            assert_eq!(ledger.note(&calm, budget, now), None, "ten in ten minutes");
        }
    }
    for window in made.windows(20) {
        assert!(window[19] - window[0] >= 600, "20 deliveries within ten minutes: {window:?}");
    }
    assert!(made.len() >= 60, "and it is never silent for long: {made:?}");
    let rule = Rule { budget: Some(Some(budget)), ..Rule::default() };
    ledger.forget(&Rules::new(rule, [], BTreeMap::new()), start + Duration::from_secs(9000));
    assert!(ledger.sessions.is_empty());
}
