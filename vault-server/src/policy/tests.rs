use super::*;

const EXAMPLE: &str = include_str!("../../policy/example.cedar");
const CASES: &str = include_str!("../../policy/example.tests.json");

#[test]
fn the_example_accords_with_the_schema_and_with_its_cases() {
    let policies = Policies::parse(EXAMPLE).expect("good policies");
    assert!(check_cases(&policies, CASES).expect("as they say") >= 16);
    assert!(policies.name_administrators());
    // Cases find a policy that allows too much.
    let loose = Policies::parse(&EXAMPLE.replace("resource.name == \"production\"", "resource.name == \"other\""));
    let why = check_cases(&loose.expect("good policies"), CASES).expect_err("one is wrong").to_string();
    assert!(why.contains("to production from inside only") && why.contains("allowed"), "{why}");
}

#[test]
fn policies_that_say_nothing_sensible_are_refused_with_their_line() {
    for (text, line, words) in [
        ("permit (principal, action, resource)", 1, "unexpected end"),
        ("\npermit (principal, action == Action::\"rule\", resource);", 2, "rule"),
        ("permit (principal, action, resource)\nwhen { resource.secret };", 2, "secret"),
        ("permit (principal, action, resource)\nwhen { context.acr == \"high\" };", 2, "acr"),
        ("permit (principal == User::\"a\", action, resource);", 1, "User"),
        ("permit (principal == ?principal, action, resource);", 1, "template"),
    ] {
        let why = Policies::parse(text).expect_err(text).to_string();
        assert!(why.contains(words), "{why}");
        assert!(words == "template" || why.contains(&format!("line {line}")), "{why}");
    }
    assert!(Policies::parse(&" ".repeat(MAX_POLICIES + 1)).is_err());
    assert!(!Policies::parse("").expect("none").name_administrators());
    let some = |text: &str| Policies::parse(text).expect(text).name_administrators();
    assert!(!some("forbid (principal, action, resource);"));
    assert!(!some("permit (principal, action in [Action::\"read\", Action::\"seal\"], resource);"));
    assert!(some("permit (principal, action, resource);"));
    assert!(some("permit (principal, action == Action::\"admin\", resource);"));
}

#[test]
fn what_is_in_a_grant_cannot_break_out_of_it() {
    let star = || "*".parse().expect("a pattern");
    let grant = |networks: &[&str]| Grant {
        permissions: [Permission::Read].into(),
        models: star(),
        channels: star(),
        networks: networks.iter().map(|network| (*network).to_owned()).collect(),
        until: None,
    };
    let of = |id: &str, networks: &[&str]| Policies::default().with_grants(Means::Key, id, &[grant(networks)]);
    of("ab", &["10.0.0.0/8", "2001:db8::/32"]).expect("networks");
    for bad in ["", "10.0.0.0/33", "localhost", "\")) } ; permit (principal, action, resource); //"] {
        assert!(of("ab", &[bad]).is_err(), "{bad}");
    }
    let set = of("a\"b, action, resource); permit (principal", &[]).expect("an odd id is an id");
    assert_eq!(set.policies().count(), 1);
}

#[test]
fn a_policy_that_cannot_be_judged_refuses() {
    // Arithmetic may overflow: validation cannot know.
    let text = "permit (principal, action, resource);\n\
                forbid (principal, action, resource) when { 9223372036854775807 + 1 > 0 };";
    let policies = Policies::parse(text).expect("well formed");
    let principal = Principal::of_key("ab", "a", "a", &[]);
    let set = Arc::new(policies.with_grants(Means::Key, "ab", &[]).expect("a set"));
    let rights = Rights::new(set, &principal, IpAddr::from([127, 0, 0, 1]), Timestamp::now()).expect("rights");
    assert!(!rights.allow(Permission::Read, Resource::Vault));
}
