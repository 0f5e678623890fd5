use super::*;

fn checksum_of(like: &str, bytes: &[u8]) -> String {
    let mut hasher = Checksum::from_etag(like).unwrap().hasher(bytes.len() as u64);
    bytes.chunks(2).for_each(|chunk| hasher.update(chunk));
    hasher.finish().0
}

#[test]
fn sha256_of_large_files() {
    let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(checksum_of(expected, b"abc"), expected);
}

#[test]
fn git_blob_sha1_of_small_files() {
    // `printf abc | git hash-object --stdin`
    let expected = "f2ba8f84ab5c1bce84a7b441cb1959cfc7093b7f";
    assert_eq!(checksum_of(expected, b"abc"), expected);
}

#[test]
fn etags_lose_their_quotes_and_weakness() {
    let digits = "f2ba8f84ab5c1bce84a7b441cb1959cfc7093b7f";
    assert_eq!(Checksum::from_etag(&format!("W/\"{digits}\"")).unwrap().as_str(), digits);
}

#[test]
fn what_is_no_checksum_never_becomes_a_file_name() {
    for etag in
        ["", "\"\"", "../../../../../../../../../../etc/x/passwd", "abc", &"G".repeat(40), &"a".repeat(41)]
    {
        assert_eq!(Checksum::from_etag(etag), None, "{etag}");
    }
}
