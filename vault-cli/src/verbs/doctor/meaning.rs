//! What the answers of servers mean, and what to do.
//!
//! Source: "Error responses", Amazon S3 API Reference.

use vault_core::store::examine::Answer;

/// What a refusal is about.
pub(super) struct Meaning {
    /// The check that failed.
    pub(super) check: &'static str,
    pub(super) why: String,
    pub(super) remedy: String,
}

/// The server's own words.
pub(super) fn said(answer: &Answer) -> String {
    let code = answer.code.as_deref().unwrap_or("no error code");
    match &answer.message {
        Some(message) => format!("{} {code}: {message}", answer.status),
        None => format!("{} {code}", answer.status),
    }
}

/// What it means that a request was refused.
pub(super) fn of(answer: &Answer, region: &str) -> Meaning {
    let meaning = |check, why: &str, remedy: &str| Meaning { check, why: why.to_owned(), remedy: remedy.to_owned() };
    let elsewhere = answer.region.as_deref().filter(|other| *other != region);
    let moved = || match elsewhere {
        Some(other) => Meaning {
            check: "region",
            why: format!("the bucket is in {other}, not in {region}"),
            remedy: format!("set AWS_REGION={other}"),
        },
        None => meaning("region", "the bucket is in another region", "set AWS_REGION to the region of the bucket"),
    };
    match (answer.status, answer.code.as_deref().unwrap_or_default()) {
        (_, "InvalidAccessKeyId") => meaning(
            "credentials",
            "the server does not know this access key",
            "check AWS_ACCESS_KEY_ID, that the key was not deleted, and that the endpoint is the right server",
        ),
        (_, "SignatureDoesNotMatch") => meaning(
            "credentials",
            "the secret key does not belong to the access key",
            "check AWS_SECRET_ACCESS_KEY; if it is right, something between here and the server changes the Host header",
        ),
        (_, "ExpiredToken" | "TokenRefreshRequired") => {
            meaning("credentials", "the session token has expired", "get new temporary credentials")
        }
        (_, "InvalidToken" | "InvalidClientTokenId" | "UnrecognizedClientException") => meaning(
            "credentials",
            "the session token does not belong to the access key",
            "set AWS_SESSION_TOKEN together with its keys, or unset it",
        ),
        (_, "RequestTimeTooSkewed") => meaning("clock", "the clocks differ too much", "set the clock of this machine"),
        (_, "NoSuchBucket") => meaning(
            "bucket",
            "there is no such bucket",
            "check the name in the URL, the endpoint and the account; mvault makes no buckets",
        ),
        (_, "InvalidBucketName") => meaning("bucket", "is no name of a bucket", "check the URL"),
        (_, "AllAccessDisabled" | "AccountProblem" | "NotSignedUp" | "InvalidPayer") => {
            meaning("bucket", "the account or the bucket is closed", "ask who owns the account")
        }
        (
            _,
            "AuthorizationHeaderMalformed"
            | "PermanentRedirect"
            | "TemporaryRedirect"
            | "IllegalLocationConstraintException",
        )
        | (301 | 307, _) => moved(),
        (400, _) if elsewhere.is_some() => moved(),
        (403, "RequestExpired") => meaning("clock", "the request came too late", "set the clock of this machine"),
        (403, _) => meaning(
            "rights",
            "the server knows who asks and refuses",
            "`mvault doctor --policies` prints what a sealer, a node or a release manager needs",
        ),
        (503 | 429, _) => meaning("server", "the server is busy", "try again in a while"),
        (500.., _) => meaning("server", "the server has trouble of its own", "try again, or ask who runs it"),
        _ => meaning("server", "the server does not answer as S3 does", "check AWS_ENDPOINT_URL"),
    }
}

/// What to do when nobody answers.
pub(super) fn of_silence(text: &str) -> &'static str {
    let text = text.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if has(&["dns", "lookup", "name or service", "name resolution"]) {
        "the name has no address: check AWS_ENDPOINT_URL, AWS_REGION and the name service of this machine"
    } else if has(&["certificate", "tls", "handshake", "invalid peer", "corrupt message"]) {
        "TLS failed: install the server's authority in the certificate store of the system, or check that the port speaks TLS"
    } else if has(&["refused"]) {
        "nobody listens there: check AWS_ENDPOINT_URL and whether the server runs"
    } else if has(&["timed out", "timeout", "unreachable"]) {
        "no answer in time: check firewalls and proxies (HTTPS_PROXY) between here and the server"
    } else if has(&["allow_http", "scheme", "https"]) {
        "only https is allowed beyond this machine; AWS_ALLOW_HTTP=true allows http"
    } else {
        "check AWS_ENDPOINT_URL, and what is between here and the server"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, code: &str, region: Option<&str>) -> Answer {
        let code = Some(code.to_owned()).filter(|code| !code.is_empty());
        Answer { status, code, message: None, region: region.map(str::to_owned), date: None, body: Vec::new() }
    }

    #[test]
    fn refusals_are_told_apart() {
        for (status, code, check) in [
            (403, "InvalidAccessKeyId", "credentials"),
            (403, "SignatureDoesNotMatch", "credentials"),
            (400, "ExpiredToken", "credentials"),
            (403, "RequestTimeTooSkewed", "clock"),
            (404, "NoSuchBucket", "bucket"),
            (403, "AccessDenied", "rights"),
            (403, "", "rights"),
            (301, "PermanentRedirect", "region"),
            (400, "AuthorizationHeaderMalformed", "region"),
            (503, "SlowDown", "server"),
            (500, "", "server"),
            (404, "", "server"),
        ] {
            assert_eq!(of(&answer(status, code, None), "us-east-1").check, check, "{status} {code}");
        }
        let moved = of(&answer(301, "", Some("eu-west-1")), "us-east-1");
        assert_eq!((moved.check, moved.remedy.as_str()), ("region", "set AWS_REGION=eu-west-1"));
        assert_eq!(said(&answer(403, "", None)), "403 no error code");
    }

    #[test]
    fn silence_has_reasons() {
        for (text, start) in [
            ("http://x: error sending request: dns error: failed to lookup address", "the name"),
            ("invalid peer certificate: UnknownIssuer", "TLS failed"),
            ("tcp connect error: Connection refused (os error 111)", "nobody listens"),
            ("operation timed out", "no answer in time"),
            ("something else", "check AWS_ENDPOINT_URL"),
        ] {
            assert!(of_silence(text).starts_with(start), "{text}: {}", of_silence(text));
        }
    }
}
