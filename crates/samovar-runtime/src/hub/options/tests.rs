use super::*;

#[test]
fn token_and_password_stay_out_of_debug_output() {
    let options = HubOptions {
        token: Some("hf_secret".into()),
        proxy: Some("http://me:secret@proxy:8080".into()),
        ..HubOptions::new("/h")
    };
    assert!(!format!("{options:?}").contains("secret"));
}
