//! Which of several settings counts.

use std::net::{IpAddr, Ipv6Addr};

use super::{Credentials, Keys, Origin, Plan, Process, Profiles, ini::Section};
use crate::error::{Error, Result};

/// What errors and origins call the files.
pub(super) const CONFIG: &str = "the config file of AWS";
pub(super) const CREDENTIALS: &str = "the credentials file of AWS";

/// The setting that names a file of authorities.
pub(in crate::store) const CA_BUNDLE: &str = "AWS_CA_BUNDLE";

/// Variables that are decided upon here and never handed on as they are.
const DECIDED: [&str; 20] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_TOKEN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_ALLOW_HTTP",
    "AWS_SKIP_SIGNATURE",
    CA_BUNDLE,
];

/// What only AWS's own tools can do, and how to have them do it.
const EXPORT: &str = "which only AWS's own tools can use; let them: \
    eval \"$(aws configure export-credentials --profile NAME --format env)\", or a profile with \
    `credential_process = aws configure export-credentials --profile NAME`";

/// Decides how to reach S3, from the environment (names and values, of which others than `AWS_…` do not matter) and the
/// shared files.
///
/// # Errors
/// [`Error::Misuse`] for a profile that is not there, half a pair of keys, an endpoint without TLS that is not on
/// loopback, or credentials of a kind that cannot be used here; it says what to do instead.
pub fn plan(environment: &[(String, String)], profiles: &Profiles) -> Result<Plan> {
    let decision = Decision::new(environment, profiles)?;
    let mut plan = Plan { credentials: Credentials::Anonymous, origins: Vec::new(), settings: Vec::new() };
    let kept = environment.iter().filter(|(name, value)| {
        name.starts_with("AWS_") && !value.is_empty() && !DECIDED.contains(&name.to_ascii_uppercase().as_str())
    });
    plan.settings.extend(kept.cloned());
    decision.region(&mut plan)?;
    decision.endpoint(&mut plan)?;
    decision.authorities(&mut plan)?;
    decision.credentials(&mut plan)?;
    Ok(plan)
}

/// A value and where it was found.
type Found<'a> = (&'a str, String);

struct Decision<'a> {
    environment: &'a [(String, String)],
    profiles: &'a Profiles,
    profile: String,
    in_config: Option<&'a Section>,
    in_credentials: Option<&'a Section>,
}

impl<'a> Decision<'a> {
    fn new(environment: &'a [(String, String)], profiles: &'a Profiles) -> Result<Self> {
        let named = ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"].into_iter().find_map(|name| variable(environment, name));
        let profile = named.unwrap_or("default").to_owned();
        let config = &profiles.config;
        let in_config = config.section(&format!("profile {profile}"));
        let in_config = in_config.or_else(|| config.section("default").filter(|_| profile == "default"));
        let in_credentials = profiles.credentials.section(&profile);
        if named.is_some() && in_config.is_none() && in_credentials.is_none() {
            return Err(Error::Misuse(format!(
                "AWS_PROFILE: there is no profile {profile:?} in {CONFIG} or in {CREDENTIALS}"
            )));
        }
        Ok(Self { environment, profiles, profile, in_config, in_credentials })
    }

    /// A variable of the environment that is not empty.
    fn variable(&self, name: &'static str) -> Option<Found<'a>> {
        variable(self.environment, name).map(|value| (value, name.to_owned()))
    }

    fn is_true(&self, name: &'static str) -> bool {
        self.variable(name).is_some_and(|(value, _)| value.eq_ignore_ascii_case("true"))
    }

    fn in_section(&self, section: Option<&'a Section>, file: &str, name: &str) -> Result<Option<Found<'a>>> {
        let Some(value) = section.and_then(|section| section.get(name)) else { return Ok(None) };
        let from = format!("profile {} in {file}", self.profile);
        let text = value.text().map_err(|rule| Error::Misuse(format!("{from}: {name} {rule}")))?;
        Ok(Some((text, from)).filter(|(text, _)| !text.is_empty()))
    }

    /// A value of the profile. The credentials file beats the config file.
    fn property(&self, name: &str) -> Result<Option<Found<'a>>> {
        match self.in_section(self.in_credentials, CREDENTIALS, name)? {
            Some(found) => Ok(Some(found)),
            None => self.in_section(self.in_config, CONFIG, name),
        }
    }

    fn region(&self, plan: &mut Plan) -> Result<()> {
        let found = self.variable("AWS_REGION").or_else(|| self.variable("AWS_DEFAULT_REGION"));
        let found = if found.is_some() { found } else { self.property("region")? };
        let Some((region, from)) = found else { return Ok(()) };
        if !region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(Error::Misuse(format!("{from}: {region:?} is no region")));
        }
        plan.settings.push(("AWS_REGION".into(), region.to_owned()));
        plan.origins.push(Origin { what: "region", value: region.to_owned(), from });
        Ok(())
    }

    /// Which authorities may say who the server is, instead of those of the system.
    fn authorities(&self, plan: &mut Plan) -> Result<()> {
        let found = self.variable("AWS_CA_BUNDLE");
        let found = if found.is_some() { found } else { self.property("ca_bundle")? };
        let Some((path, from)) = found else { return Ok(()) };
        plan.settings.push((CA_BUNDLE.into(), path.to_owned()));
        plan.origins.push(Origin { what: "authorities", value: path.to_owned(), from });
        Ok(())
    }

    fn endpoint(&self, plan: &mut Plan) -> Result<()> {
        let allowed = self.is_true("AWS_ALLOW_HTTP");
        if allowed {
            plan.settings.push(("AWS_ALLOW_HTTP".into(), "true".into()));
        }
        let Some((endpoint, from)) = self.configured_endpoint()? else {
            let style = self.in_config.and_then(|section| section.get("s3")?.in_block("addressing_style"));
            if style == Some(Ok("virtual")) {
                plan.settings.push(("AWS_VIRTUAL_HOSTED_STYLE_REQUEST".into(), "true".into()));
            }
            return Ok(());
        };
        let unfit = |rule: &str| Error::Misuse(format!("{from}: {rule}"));
        let Some((scheme, host)) = endpoint.split_once("://") else {
            return Err(unfit("is no URL; it begins with https://"));
        };
        if !is_server(host) {
            return Err(unfit("is no URL of a server"));
        }
        match scheme.to_ascii_lowercase().as_str() {
            "https" => {}
            "http" if allowed => {}
            "http" if is_loopback(host) => plan.settings.push(("AWS_ALLOW_HTTP".into(), "true".into())),
            "http" => {
                let rule = "would send signed requests without TLS to another machine; use https, or set \
                    AWS_ALLOW_HTTP=true if the line is safe";
                return Err(unfit(rule));
            }
            _ => return Err(unfit("is neither https nor http")),
        }
        plan.settings.push(("AWS_ENDPOINT_URL".into(), endpoint.to_owned()));
        let value = endpoint.to_owned();
        plan.origins.push(Origin { what: "endpoint", value, from });
        Ok(())
    }

    fn configured_endpoint(&self) -> Result<Option<Found<'a>>> {
        let ignored = self.property("ignore_configured_endpoint_urls")?;
        if self.is_true("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")
            || ignored.is_some_and(|(value, _)| value.eq_ignore_ascii_case("true"))
        {
            return Ok(None);
        }
        for name in ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"] {
            if let Some(found) = self.variable(name) {
                return Ok(Some(found));
            }
        }
        if let Some((services, _)) = self.property("services")? {
            let from = format!("services {services} in {CONFIG}");
            let section = self.profiles.config.section(&format!("services {services}"));
            let section = section.ok_or_else(|| Error::Misuse(format!("{from}: there is no such section")))?;
            if let Some(found) = section.get("s3").and_then(|value| value.in_block("endpoint_url")) {
                let endpoint = found.map_err(|rule| Error::Misuse(format!("{from}: endpoint_url {rule}")))?;
                return Ok(Some((endpoint, from)));
            }
        }
        self.property("endpoint_url")
    }

    fn credentials(&self, plan: &mut Plan) -> Result<()> {
        if self.is_true("AWS_SKIP_SIGNATURE") {
            plan.settings.push(("AWS_SKIP_SIGNATURE".into(), "true".into()));
            return note(plan, Credentials::Anonymous, "none".into(), "AWS_SKIP_SIGNATURE".into());
        }
        if let Some((keys, from)) = self.keys_of_environment()? {
            return note(plan, Credentials::Keys(keys.clone()), keys.shown(), from);
        }
        if let Some((_, from)) = self.property("role_arn")? {
            for name in ["source_profile", "credential_source"] {
                if self.property(name)?.is_some() {
                    return Err(Error::Misuse(format!("{from}: takes over a role with {name}, {EXPORT}")));
                }
            }
        }
        if self.web_identity(plan)? {
            return Ok(());
        }
        if let Some((_, from)) = self.in_section(self.in_config, CONFIG, "role_arn")? {
            return Err(Error::Misuse(format!("{from}: names a role and nothing to take it over with")));
        }
        for name in ["sso_session", "sso_start_url", "login_session"] {
            if let Some((_, from)) = self.property(name)? {
                return Err(Error::Misuse(format!("{from}: signs on with {name}, {EXPORT}")));
            }
        }
        if let Some((keys, from)) = self.keys_of_file(self.in_credentials, CREDENTIALS)? {
            return note(plan, Credentials::Keys(keys.clone()), keys.shown(), from);
        }
        if let Some((command, from)) = self.property("credential_process")? {
            let process = Process::parse(command)?;
            let program = process.program().to_owned();
            return note(plan, Credentials::Process(process), program, from);
        }
        if let Some((keys, from)) = self.keys_of_file(self.in_config, CONFIG)? {
            return note(plan, Credentials::Keys(keys.clone()), keys.shown(), from);
        }
        self.surroundings(plan)
    }

    fn keys_of_environment(&self) -> Result<Option<(Keys, String)>> {
        let get = |name| self.variable(name).map(|(value, _)| value);
        let (access, secret) = (get("AWS_ACCESS_KEY_ID"), get("AWS_SECRET_ACCESS_KEY"));
        let token = get("AWS_SESSION_TOKEN");
        keys("the environment", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"], access, secret, token)
    }

    fn keys_of_file(&self, section: Option<&'a Section>, file: &str) -> Result<Option<(Keys, String)>> {
        let get = |name| Ok::<_, Error>(self.in_section(section, file, name)?.map(|(value, _)| value));
        let names = ["aws_access_key_id", "aws_secret_access_key"];
        let from = format!("profile {} in {file}", self.profile);
        keys(&from, names, get(names[0])?, get(names[1])?, get("aws_session_token")?)
    }

    fn web_identity(&self, plan: &mut Plan) -> Result<bool> {
        let (token, role, session) = match self.variable("AWS_WEB_IDENTITY_TOKEN_FILE") {
            Some(token) => (token, self.variable("AWS_ROLE_ARN"), self.variable("AWS_ROLE_SESSION_NAME")),
            None => match self.property("web_identity_token_file")? {
                Some(token) => (token, self.property("role_arn")?, self.property("role_session_name")?),
                None => return Ok(false),
            },
        };
        let (token, from) = token;
        let role = role.map(|(role, _)| role);
        let role = role.ok_or_else(|| Error::Misuse(format!("{from}: names a token and no role to act as")))?;
        plan.settings.push(("AWS_WEB_IDENTITY_TOKEN_FILE".into(), token.to_owned()));
        plan.settings.push(("AWS_ROLE_ARN".into(), role.to_owned()));
        plan.settings.extend(session.map(|(name, _)| ("AWS_ROLE_SESSION_NAME".into(), name.to_owned())));
        note(plan, Credentials::WebIdentity, role.to_owned(), from)?;
        Ok(true)
    }

    /// What containers and machines at Amazon are given.
    fn surroundings(&self, plan: &mut Plan) -> Result<()> {
        let names = [
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        ];
        let found: Vec<_> = names.into_iter().filter_map(|name| self.variable(name)).collect();
        let names: Vec<_> = found.iter().map(|(_, name)| name.as_str()).collect();
        if names.ends_with(&["AWS_CONTAINER_CREDENTIALS_FULL_URI"]) {
            return Err(Error::Misuse(
                "AWS_CONTAINER_CREDENTIALS_FULL_URI is there without AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE, and \
                 can be used only with it"
                    .into(),
            ));
        }
        let found = if names == ["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] { Vec::new() } else { found };
        plan.settings.extend(found.iter().map(|(value, name)| (name.clone(), (*value).to_owned())));
        if let Some((_, from)) = found.into_iter().next() {
            return note(plan, Credentials::Container, "of the container".into(), from);
        }
        if self.is_true("AWS_EC2_METADATA_DISABLED") {
            return Err(Error::Misuse(
                "there are no credentials for S3 in the environment or the files of AWS; set AWS_ACCESS_KEY_ID and \
                 AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
                    .into(),
            ));
        }
        note(plan, Credentials::Instance, "of the machine".into(), "the metadata service, if there is one".into())
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the last word of functions that can fail")]
fn note(plan: &mut Plan, credentials: Credentials, value: String, from: String) -> Result<()> {
    plan.credentials = credentials;
    plan.origins.push(Origin { what: "credentials", value, from });
    Ok(())
}

/// Keys, all of one place or none.
fn keys(
    from: &str,
    names: [&str; 2],
    access: Option<&str>,
    secret: Option<&str>,
    token: Option<&str>,
) -> Result<Option<(Keys, String)>> {
    let (access, secret) = match (access, secret) {
        (Some(access), Some(secret)) => (access, secret),
        (None, None) => return Ok(None),
        (Some(_), None) => return Err(Error::Misuse(format!("{from}: has {} and no {}", names[0], names[1]))),
        (None, Some(_)) => return Err(Error::Misuse(format!("{from}: has {} and no {}", names[1], names[0]))),
    };
    let keys = Keys::new(access.to_owned(), secret.to_owned(), token.map(str::to_owned));
    let keys = keys.ok_or_else(|| Error::Misuse(format!("{from}: has keys with characters that no key has")))?;
    Ok(Some((keys, from.to_owned())))
}

fn variable<'a>(environment: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = environment.iter().find(|(found, value)| found == name && !value.is_empty());
    found.map(|(_, value)| value.as_str())
}

/// Host, port if there is one, and path of what stands behind `https://`.
fn parts(rest: &str) -> Option<(&str, Option<&str>, &str)> {
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            (host, port)
        }
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    Some((host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) }, path))
}

/// Whether what stands behind `https://` is a server and perhaps a path. Stricter than URLs are, because the client
/// panics at some that are none.
fn is_server(rest: &str) -> bool {
    let Some((host, port, path)) = parts(rest) else { return false };
    let label = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    let numeric = host.rsplit('.').next().is_some_and(|last| last.starts_with(|c: char| c.is_ascii_digit()));
    let host_fits =
        host.parse::<IpAddr>().is_ok() || (!numeric && host.strip_suffix('.').unwrap_or(host).split('.').all(label));
    let path_fits = path.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~/".contains(&b));
    host_fits && path_fits && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

/// Whether what stands behind `http://` is this machine.
fn is_loopback(rest: &str) -> bool {
    let Some((host, _, _)) = parts(rest) else { return false };
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
