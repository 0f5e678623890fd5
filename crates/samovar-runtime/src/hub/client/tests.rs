use super::*;

#[test]
fn locations_resolve_as_a_browser_does() {
    let url = "https://hub.example/org/model/resolve/main/a.bin?x=1";
    for (location, expected) in [
        ("https://cdn.example/blob?sig=1", "https://cdn.example/blob?sig=1"),
        ("//cdn.example/blob", "https://cdn.example/blob"),
        ("/api/resolve-cache/a.bin", "https://hub.example/api/resolve-cache/a.bin"),
        ("b.bin", "https://hub.example/org/model/resolve/main/b.bin"),
    ] {
        assert_eq!(resolve(url, location), expected);
    }
}

#[test]
fn another_port_host_or_scheme_is_another_origin() {
    let endpoint = "https://hub.example";
    assert!(is_same_origin("https://HUB.example/x", endpoint));
    for url in [
        "https://hub.example:8443/x",
        "http://hub.example/x",
        "https://hub.example.evil.example/x",
        "https://hub.example@evil.example/x",
        "https://evil.example/https://hub.example",
    ] {
        assert!(!is_same_origin(url, endpoint), "{url}");
    }
}

#[test]
fn loopback_is_recognised() {
    for endpoint in ["http://127.0.0.1:8000", "http://localhost:1/hf", "http://[::1]:80"] {
        assert!(is_loopback(endpoint), "{endpoint}");
    }
    assert!(!is_loopback("https://localhost.example"));
}

#[test]
fn revisions_and_files_are_encoded() {
    assert_eq!(percent_encode("refs/pr/1", ""), "refs%2Fpr%2F1");
    assert_eq!(percent_encode("sub folder/a+b.bin", "/"), "sub%20folder/a%2Bb.bin");
}
