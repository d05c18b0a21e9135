//! API keys of the client protocol (fact sheet, section 1.3). They keep nobody out: every stock client
//! carries the same one. COMPAT.

use axum::http::{HeaderMap, header::COOKIE};

/// The key a request carries, looked for where clients put it, in their order.
pub(super) fn of_request(headers: &HeaderMap, query: Option<&str>) -> Option<String> {
    of_form(headers, query, None)
}

/// The same for a request with a form that may hold it.
pub(super) fn of_form(
    headers: &HeaderMap,
    query: Option<&str>,
    form: Option<&str>,
) -> Option<String> {
    let header = headers
        .get("x-tinode-apikey")
        .and_then(|it| it.to_str().ok());
    let in_query = query.and_then(|it| parameter(it, '&'));
    let in_cookie = headers
        .get(COOKIE)
        .and_then(|it| it.to_str().ok())
        .and_then(|it| parameter(it, ';'));
    header
        .or(in_query)
        .or(form)
        .or(in_cookie)
        .map(str::to_owned)
}

fn parameter(text: &str, separator: char) -> Option<&str> {
    text.split(separator)
        .find_map(|it| it.trim().strip_prefix("apikey="))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_key_is_found_wherever_clients_put_it() {
        let mut headers = HeaderMap::new();
        assert_eq!(
            of_request(&headers, Some("v=0&apikey=K1")).as_deref(),
            Some("K1")
        );
        headers.insert(COOKIE, HeaderValue::from_static("a=b; apikey=K2"));
        assert_eq!(of_request(&headers, None).as_deref(), Some("K2"));
        headers.insert("x-tinode-apikey", HeaderValue::from_static("K3"));
        assert_eq!(
            of_request(&headers, Some("apikey=K1")).as_deref(),
            Some("K3")
        );
        assert_eq!(of_request(&HeaderMap::new(), Some("xapikey=K1")), None);
    }
}
