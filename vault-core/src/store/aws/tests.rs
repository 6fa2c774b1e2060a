//! Which setting counts, against what the AWS command line does.

use super::*;
use crate::error::Error;

const FILES: (&str, &str) = (
    "[default]\nregion = eu-west-1\n[profile both]\nregion = eu-west-2\naws_access_key_id = CONFIGKEY\n\
     aws_secret_access_key = s\n[profile keys]\naws_access_key_id = CONFIGKEY\naws_secret_access_key = s\n\
     aws_session_token = t\n[profile sso]\nsso_session = x\nsso_account_id = 1\n[profile chained]\n\
     role_arn = arn:aws:iam::1:role/r\nsource_profile = default\n[profile web]\nrole_arn = arn:aws:iam::1:role/r\n\
     web_identity_token_file = /run/token\nrole_session_name = job\n[profile program]\n\
     credential_process = /opt/keys --for 'a b'\naws_access_key_id = CONFIGKEY\naws_secret_access_key = s\n\
     [profile local]\nservices = here\nendpoint_url = https://general\n[services here]\ns3 =\n  endpoint_url = \
     http://127.0.0.1:9000\n[profile virtual]\ns3 =\n  addressing_style = virtual\n[profile half]\n\
     aws_access_key_id = K\n[profile comment]\nregion = eu-west-1 # mine\n[profile ignoring]\n\
     endpoint_url = https://general\nignore_configured_endpoint_urls = true\nca_bundle = /etc/ours.pem\n\
     [profile alone]\nrole_arn = arn:aws:iam::1:role/r\naws_access_key_id = K\naws_secret_access_key = s\n",
    "[default]\naws_access_key_id = FILEKEY1\naws_secret_access_key = hush\n[both]\naws_access_key_id = FILEKEY2\n\
     aws_secret_access_key = hush\n[local]\naws_access_key_id = FILEKEY3\naws_secret_access_key = hush\n",
);

fn decide(environment: &[(&str, &str)]) -> Result<Plan> {
    let profiles = Profiles::parse(FILES.0, FILES.1).expect("good files");
    let pairs: Vec<_> = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    plan(&pairs, &profiles)
}

fn settings(environment: &[(&str, &str)]) -> Vec<String> {
    let settings = decide(environment).unwrap_or_else(|error| panic!("{error}")).settings();
    settings.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

fn refusal(environment: &[(&str, &str)]) -> String {
    match decide(environment) {
        Err(Error::Misuse(text)) => text,
        other => panic!("{other:?}"),
    }
}

const ENVIRONMENT: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "ENVKEY"), ("AWS_SECRET_ACCESS_KEY", "hush")];

#[test]
fn the_environment_beats_files_and_sources_are_never_mixed() {
    assert_eq!(settings(&[]), ["AWS_REGION=eu-west-1", "AWS_ACCESS_KEY_ID=FILEKEY1", "AWS_SECRET_ACCESS_KEY=hush"]);
    let more = [("AWS_REGION", "us-west-2"), ("AWS_DEFAULT_REGION", "us-west-1"), ("AWS_PROFILE", "both")];
    assert_eq!(
        settings(&[&ENVIRONMENT[..], &more].concat()),
        ["AWS_REGION=us-west-2", "AWS_ACCESS_KEY_ID=ENVKEY", "AWS_SECRET_ACCESS_KEY=hush"]
    );
    // A token of the environment belongs to keys of the environment.
    assert_eq!(
        settings(&[("AWS_SESSION_TOKEN", "other"), ("AWS_PROFILE", "both"), ("AWS_ACCESS_KEY_ID", "")]),
        ["AWS_REGION=eu-west-2", "AWS_ACCESS_KEY_ID=FILEKEY2", "AWS_SECRET_ACCESS_KEY=hush"]
    );
    assert_eq!(
        settings(&[("AWS_PROFILE", "keys")]),
        ["AWS_ACCESS_KEY_ID=CONFIGKEY", "AWS_SECRET_ACCESS_KEY=s", "AWS_SESSION_TOKEN=t"]
    );
    let other = [("AWS_SERVER_SIDE_ENCRYPTION", "AES256"), ("HOME", "/root"), ("AWS_PROFILE", "keys")];
    assert_eq!(settings(&other)[0], "AWS_SERVER_SIDE_ENCRYPTION=AES256");
    assert_eq!(settings(&other).len(), 4);
}

#[test]
fn half_of_a_configuration_is_refused_and_not_passed_over() {
    let nobody = [("AWS_PROFILE", "comment"), ("AWS_REGION", "eu-west-1")];
    let with = |more: &[(&'static str, &'static str)]| [&nobody[..], more].concat();
    let uri = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1/credentials");
    let token = ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/run/token");
    assert!(refusal(&with(&[uri])).contains("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"));
    assert_eq!(decide(&with(&[uri, token])).expect("whole").credentials, Credentials::Container);
    assert_eq!(decide(&with(&[token])).expect("of the machine").credentials, Credentials::Instance);
    assert!(refusal(&[("AWS_PROFILE", "alone")]).contains("nothing to take it over with"));
    let skip = decide(&[("AWS_SKIP_SIGNATURE", "true")]).expect("good");
    assert!(skip.settings().contains(&("AWS_SKIP_SIGNATURE".into(), "true".into())));
    assert!(!settings(&[("AWS_SKIP_SIGNATURE", "1")]).iter().any(|one| one.contains("SKIP")));
}

#[test]
fn authorities_are_a_file_of_the_environment_or_the_profile() {
    assert_eq!(settings(&[("AWS_PROFILE", "ignoring")])[0], "AWS_CA_BUNDLE=/etc/ours.pem");
    let here = [("AWS_PROFILE", "ignoring"), ("AWS_CA_BUNDLE", "/here.pem")];
    assert_eq!(settings(&here)[0], "AWS_CA_BUNDLE=/here.pem");
}

#[test]
fn every_kind_of_credentials_is_told_apart() {
    let kind = |environment: &[(&str, &str)]| decide(environment).expect("good").credentials;
    assert!(matches!(kind(&[]), Credentials::Keys(_)));
    assert_eq!(
        settings(&[("AWS_PROFILE", "web")]),
        ["AWS_WEB_IDENTITY_TOKEN_FILE=/run/token", "AWS_ROLE_ARN=arn:aws:iam::1:role/r", "AWS_ROLE_SESSION_NAME=job"]
    );
    let token = [("AWS_WEB_IDENTITY_TOKEN_FILE", "/t"), ("AWS_ROLE_ARN", "arn"), ("AWS_PROFILE", "web")];
    assert_eq!(settings(&token), ["AWS_WEB_IDENTITY_TOKEN_FILE=/t", "AWS_ROLE_ARN=arn"]);
    let Credentials::Process(process) = kind(&[("AWS_PROFILE", "program")]) else { panic!("a program") };
    assert_eq!((process.program(), process.arguments()), ("/opt/keys", &["--for".into(), "a b".into()][..]));
    let bare = [("AWS_PROFILE", "virtual")];
    assert_eq!(kind(&bare), Credentials::Instance);
    assert_eq!(settings(&bare), ["AWS_VIRTUAL_HOSTED_STYLE_REQUEST=true"]);
    let container = [bare[0], ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/x")];
    assert_eq!(kind(&container), Credentials::Container);
    assert_eq!(kind(&[("AWS_SKIP_SIGNATURE", "true")]), Credentials::Anonymous);
    let none = refusal(&[bare[0], ("AWS_EC2_METADATA_DISABLED", "true")]);
    assert!(none.starts_with("there are no credentials"), "{none}");
}

#[test]
fn what_cannot_be_used_is_refused_with_what_to_do_instead() {
    for profile in ["sso", "chained"] {
        let message = refusal(&[("AWS_PROFILE", profile)]);
        assert!(message.starts_with(&format!("profile {profile} in the config file of AWS: ")), "{message}");
        assert!(message.contains("aws configure export-credentials"), "{message}");
        // Keys of the environment need no profile.
        decide(&[&ENVIRONMENT[..], &[("AWS_PROFILE", profile)]].concat()).expect("good");
    }
    assert!(refusal(&[("AWS_PROFILE", "absent")]).starts_with("AWS_PROFILE: there is no profile \"absent\""));
    assert!(refusal(&[("AWS_PROFILE", "half")]).ends_with("has aws_access_key_id and no aws_secret_access_key"));
    assert!(refusal(&[ENVIRONMENT[0]]).ends_with("has AWS_ACCESS_KEY_ID and no AWS_SECRET_ACCESS_KEY"));
    assert!(refusal(&[ENVIRONMENT[0], ("AWS_SECRET_ACCESS_KEY", "a\r\nb")]).ends_with("characters that no key has"));
    assert!(refusal(&[("AWS_WEB_IDENTITY_TOKEN_FILE", "/t")]).ends_with("no role to act as"));
    assert!(refusal(&[("AWS_PROFILE", "comment")]).contains("region has a comment behind its value"));
    assert!(refusal(&[("AWS_REGION", "x.evil/")]).ends_with("is no region"));
}

#[test]
fn endpoints_have_an_order_and_need_tls_beyond_this_machine() {
    let endpoint = |more: &[(&str, &str)]| {
        let plan = decide(&[&ENVIRONMENT[..], more].concat()).expect("good");
        plan.origins.into_iter().find(|origin| origin.what == "endpoint").map(|origin| origin.value)
    };
    let (s3, all) = (("AWS_ENDPOINT_URL_S3", "https://s3"), ("AWS_ENDPOINT_URL", "https://all"));
    assert_eq!(endpoint(&[all, s3, ("AWS_PROFILE", "local")]).as_deref(), Some("https://s3"));
    assert_eq!(endpoint(&[all, ("AWS_PROFILE", "local")]).as_deref(), Some("https://all"));
    assert_eq!(endpoint(&[("AWS_PROFILE", "local")]).as_deref(), Some("http://127.0.0.1:9000"));
    assert_eq!(endpoint(&[("AWS_PROFILE", "ignoring")]), None);
    assert_eq!(endpoint(&[all, ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")]), None);

    let allows = |url: &str| settings(&[("AWS_ENDPOINT_URL", url)]).contains(&"AWS_ALLOW_HTTP=true".to_owned());
    for near in ["http://127.0.0.1:1", "http://localhost/x", "http://[::1]:9000", "HTTP://127.8.8.8"] {
        assert!(allows(near), "{near}");
    }
    assert!(!allows("https://127.0.0.1:1"));
    for far in
        ["http://10.0.0.1", "http://localhost.evil.example", "http://[2001:db8::1]:80", "http://127.0.0.1.nip.io"]
    {
        let message = refusal(&[("AWS_ENDPOINT_URL", far)]);
        assert!(message.contains("without TLS") && message.contains("AWS_ALLOW_HTTP"), "{message}");
        decide(&[("AWS_ENDPOINT_URL", far), ("AWS_ALLOW_HTTP", "true")]).expect("allowed");
    }
    for bad in [
        "localhost:9000",
        "ftp://x",
        "http://127.0.0.1@evil.example",
        "https://",
        "https://a b",
        "https://1.2.3.4.5",
        "https://0x7f.1",
        "https://[::g]",
        "https://[::1]x",
        "https://a..b",
        "https://a:99999",
        "https://a?b",
        "https://a/%",
        "https://ä",
    ] {
        refusal(&[("AWS_ENDPOINT_URL", bad)]);
    }
}

#[test]
fn no_secret_is_shown() {
    for environment in [&[][..], &ENVIRONMENT] {
        let plan = decide(environment).expect("good");
        assert!(!format!("{plan:?}").contains("hush"));
    }
    let keys = Keys::new("AKIAEXAMPLE1234".into(), "hush".into(), None).expect("good");
    assert_eq!(format!("{keys:?}"), "Keys(\"…1234\")");
    assert_eq!(Keys::new("ab".into(), "hush".into(), None).expect("good").shown(), "…b");
}
