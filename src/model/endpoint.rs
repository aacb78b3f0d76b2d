//! One server: its addresses, the headers it gets, and the connections to it.

use std::{net::IpAddr, sync::Once, time::Duration};

use reqwest::{
    Client, ClientBuilder, Url,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT},
    redirect::Policy,
};

use super::{ModelOptions, OptionsError};

/// How long an idle connection is kept: below the 5 s after which vLLM's HTTP server closes one, so that no
/// request is sent into a connection that is just being closed.
const IDLE: Duration = Duration::from_secs(4);

/// One server of a role.
pub(super) struct Endpoint {
    /// Host, port and path, as metrics and messages call the server; no name or password.
    pub(super) name: String,
    /// Where calls are posted.
    pub(super) call_url: Url,
    /// Where the server lists its models.
    pub(super) models_url: Url,
    /// Where the server tells whether it works.
    pub(super) health_url: Url,
    /// What each request carries besides its id.
    pub(super) headers: HeaderMap,
    /// The connections. At most as many are open as requests are in flight, so they need no limit of their own.
    pub(super) client: Client,
}

impl Endpoint {
    /// The server at `url`, whose API is at `path` unless the options say otherwise.
    pub(super) fn new(url: &str, path: &str, options: &ModelOptions) -> Result<Self, OptionsError> {
        let given = parse(url)?;
        let base = without_api_path(&given, path);
        Ok(Self {
            name: name(&base),
            call_url: match &options.path {
                Some(path) => extended(&given, path),
                None => extended(&base, path),
            },
            models_url: extended(&base, "/v1/models"),
            health_url: extended(&base, "/health"),
            headers: headers(options)?,
            client: client(&base, options)?,
        })
    }

    /// The path that calls are posted to.
    pub(super) fn path(&self) -> &str {
        self.call_url.path()
    }
}

/// Reads a server's URL, and says what is wrong with it without showing a password.
fn parse(text: &str) -> Result<Url, OptionsError> {
    let shown = text.rsplit_once('@').map_or(text, |(_, rest)| rest);
    let refuse = |problem: String| OptionsError::Url { url: shown.to_owned(), problem };
    let url = Url::parse(text.trim()).map_err(|error| refuse(error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refuse(format!("its scheme is `{}`", url.scheme())));
    }
    Ok(url)
}

/// People write the server's address, the API's root, or the whole path; all mean the same server.
fn without_api_path(url: &Url, path: &str) -> Url {
    let mut given = url.path().trim_end_matches('/');
    given = given.strip_suffix(path).unwrap_or(given).trim_end_matches('/');
    given = given.strip_suffix("/v1").unwrap_or(given).trim_end_matches('/');
    with_path(url, given)
}

fn extended(base: &Url, path: &str) -> Url {
    let path = format!("{}/{}", base.path().trim_end_matches('/'), path.trim_start_matches('/'));
    with_path(base, &path)
}

fn with_path(url: &Url, path: &str) -> Url {
    let mut url = url.clone();
    url.set_path(path);
    url.set_fragment(None);
    url
}

fn name(base: &Url) -> String {
    let host = base.host_str().unwrap_or_default();
    let port = base.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{host}{port}{}", base.path().trim_end_matches('/'))
}

fn headers(options: &ModelOptions) -> Result<HeaderMap, OptionsError> {
    let json = HeaderValue::from_static("application/json");
    let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, json.clone()), (ACCEPT, json)]);
    headers.extend(user_agent(&options.agent).map(|agent| (USER_AGENT, agent)));
    if let Some(key) = &options.api_key {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose()))
            .map_err(|_| OptionsError::Key { role: options.role.clone() })?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}

fn user_agent(agent: &str) -> Option<HeaderValue> {
    let carried = |char: char| if char.is_ascii_graphic() || char == ' ' { char } else { '?' };
    HeaderValue::from_str(&agent.chars().map(carried).collect::<String>()).ok()
}

fn client(base: &Url, options: &ModelOptions) -> Result<Client, OptionsError> {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        // An error means that the process has a provider already, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    let builder = Client::builder()
        .http1_only()
        .redirect(Policy::none())
        .tcp_nodelay(true)
        .connect_timeout(options.connect_timeout)
        .timeout(options.timeout)
        .pool_idle_timeout(IDLE);
    reach(builder, base)
        .build()
        .map_err(|error| OptionsError::Client { url: name(base), cause: super::failure::chain(&error) })
}

/// A server on this machine is asked directly, whatever proxy the environment names for the rest of the world,
/// and without loading the system's certificates, which a bare container may lack.
fn reach(builder: ClientBuilder, base: &Url) -> ClientBuilder {
    match (is_loopback(base), base.scheme()) {
        (true, "http") => builder.no_proxy().tls_certs_only([]),
        (true, _) => builder.no_proxy(),
        (false, _) => builder,
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call_url(url: &str, path: Option<&str>) -> String {
        let mut options = ModelOptions::new("generator", &[url], "m");
        options.path = path.map(str::to_owned);
        match Endpoint::new(url, "/v1/chat/completions", &options) {
            Ok(endpoint) => format!("{} {}", endpoint.name, endpoint.call_url),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn every_way_to_write_a_server_is_understood() {
        for url in [
            "http://127.0.0.1:80",
            "http://127.0.0.1/",
            "http://127.0.0.1/v1",
            " http://127.0.0.1/v1/",
            "http://127.0.0.1/v1/chat/completions",
        ] {
            assert_eq!(call_url(url, None), "127.0.0.1 http://127.0.0.1/v1/chat/completions", "{url}");
        }
        assert_eq!(
            call_url("http://u:p@[::1]:1/a/v1?x=y#z", None),
            "[::1]:1/a http://u:p@[::1]:1/a/v1/chat/completions?x=y"
        );
        assert_eq!(
            call_url("http://localhost:1/v1beta/", Some("chat/completions")),
            "localhost:1/v1beta http://localhost:1/v1beta/chat/completions"
        );
    }

    #[test]
    fn what_is_no_server_is_refused_without_its_password() {
        for (url, problem) in [
            ("localhost:1", "its scheme is `localhost`"),
            ("http://u:hush@host:x", "invalid port number"),
            ("unix:/socket", "its scheme is `unix`"),
        ] {
            let message = call_url(url, None);
            assert!(message.contains(problem) && !message.contains("hush"), "{message}");
        }
    }

    #[test]
    fn loopback_is_recognised() {
        for (url, expected) in [
            ("http://localhost:1", true),
            ("http://127.3.2.1", true),
            ("http://[::1]:1", true),
            ("http://localhost.example", false),
            ("http://10.0.0.1", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(url).expect("a URL")), expected, "{url}");
        }
    }
}
