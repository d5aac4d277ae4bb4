//! The page of the server: what it loads, and the headers that keep everything else out.
//!
//! Its files are part of the program, and it loads nothing from elsewhere: the browser enforces that by the
//! `Content-Security-Policy`, which also forbids scripts and styles within the page, and other pages that show
//! this one in a frame. The page needs no token; it asks for one where `GET /models` needs it, and sends it with
//! each request.

use axum::{
    Router,
    http::{
        HeaderName,
        header::{
            CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
            X_CONTENT_TYPE_OPTIONS,
        },
    },
    response::IntoResponse,
    routing::get,
};

/// What the browser may load: this server's own files; images that the user chose (`blob:`); the empty icon
/// (`data:`).
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                      img-src 'self' blob: data:; media-src 'self' blob:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");
/// The camera is for this page alone, after the browser has asked; the rest is for nobody.
const PERMISSIONS: &str = "camera=(self), microphone=(), geolocation=()";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

/// The files of the page: path, type, content.
const FILES: [(&str, &str, &str); 7] = [
    ("/", HTML, include_str!("page/page.html")),
    ("/page/page.css", CSS, include_str!("page/page.css")),
    ("/page/page.js", JS, include_str!("page/page.js")),
    ("/page/api.js", JS, include_str!("page/api.js")),
    ("/page/bars.js", JS, include_str!("page/bars.js")),
    ("/page/camera.js", JS, include_str!("page/camera.js")),
    ("/page/result.js", JS, include_str!("page/result.js")),
];

/// Returns the routes of the page and of what it loads.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let mut router = Router::new();
    for (path, content_type, content) in FILES {
        router = router.route(path, get(move || async move { file(content_type, content) }));
    }
    router
}

/// Returns whether the page loads this path: such a path needs no token.
pub(crate) fn has(path: &str) -> bool {
    FILES.iter().any(|it| it.0 == path)
}

fn file(content_type: &'static str, content: &'static str) -> impl IntoResponse {
    let headers = [
        (CONTENT_TYPE, content_type),
        (CONTENT_SECURITY_POLICY, POLICY),
        (PERMISSIONS_POLICY, PERMISSIONS),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        // The files are small, and those of one version of the program belong together.
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, content)
}

#[cfg(test)]
mod tests {
    use super::{FILES, has};

    /// The text between `start` and the next quote, everywhere that `start` occurs.
    fn quoted<'a>(text: &'a str, start: &str) -> Vec<&'a str> {
        text.split(start).skip(1).filter_map(|it| it.split('"').next()).collect()
    }

    fn content(path: &str) -> &'static str {
        FILES.iter().find(|it| it.0 == path).expect("a file of the page").2
    }

    #[test]
    fn whatever_the_page_loads_is_a_file_of_the_server() {
        let html = content("/");
        let mut loaded = quoted(html, " src=\"");
        loaded.extend(quoted(html, " href=\""));
        assert!(loaded.len() >= 3, "{loaded:?}");
        for path in loaded.into_iter().filter(|it| *it != "data:,") {
            assert!(has(&format!("/{path}")), "`{path}` is not a file of the page");
        }
        for (path, _, script) in FILES.iter().filter(|it| it.0.ends_with(".js")) {
            for imported in quoted(script, " from \"") {
                let file = imported.strip_prefix("./").expect("modules are in the same folder");
                assert!(has(&format!("/page/{file}")), "{path} imports `{imported}`");
            }
        }
    }

    #[test]
    fn nothing_is_loaded_from_elsewhere_and_no_script_is_within_the_page() {
        for (path, _, content) in FILES {
            let words = ["http://", "https://", " url(", "@import", "innerHTML", "eval("];
            for word in words {
                assert!(!content.contains(word), "{path} contains `{word}`");
            }
        }
        let html = content("/");
        // The policy forbids these, so that they would not work.
        for word in ["<style", " style=", " onclick=", "<script>"] {
            assert!(!html.contains(word), "the page contains `{word}`");
        }
    }

    #[test]
    fn every_element_that_a_script_uses_is_in_the_page() {
        let html = content("/");
        for (path, _, script) in FILES.iter().filter(|it| it.0.ends_with(".js")) {
            for id in quoted(script, "$(\"") {
                assert!(html.contains(&format!(" id=\"{id}\"")), "{path} uses `{id}`");
            }
        }
    }

    #[test]
    fn every_control_has_a_label() {
        let html = content("/");
        let fields = ["<input", "<select"].map(|it| html.split(it).skip(1)).into_iter().flatten();
        for field in fields {
            let tag = field.split('>').next().unwrap_or_default();
            let id = quoted(tag, "id=\"").into_iter().next().expect("a control has an id");
            let is_within = html.contains(&format!("<label class=\"check\"><input id=\"{id}\""));
            assert!(is_within || html.contains(&format!("<label for=\"{id}\"")), "`{id}`");
        }
    }
}
