use std::collections::BTreeMap;
use std::fs;

use crate::{Checkpoint, WeightSource, WriteTensor, write_safetensors};

#[test]
fn what_is_written_is_read_back_or_nothing_is_there() {
    let folder = std::env::temp_dir().join(format!("samovar-weights-writer-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("out.safetensors");
    let values = [1.5, -2.0, f32::INFINITY, 0.0, 1e-40, 3.0];
    let tensor = |name: &str, shape: &[usize]| WriteTensor {
        name: name.into(),
        shape: shape.to_vec(),
        values: &values,
    };
    let metadata = BTreeMap::from([("made_by".to_owned(), "a test".to_owned())]);
    write_safetensors(&path, &[tensor("x.y", &[2, 3]), tensor("a", &[6])], &metadata).unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    assert_eq!(checkpoint.names(), ["a", "x.y"]);
    assert_eq!(checkpoint.metadata("made_by").as_deref(), Some("a test"));
    assert_eq!(checkpoint.tensor("x.y", &[2, 3]).unwrap().to_f32_vec().unwrap(), values);

    let other = folder.join("other.safetensors");
    let misshapen = write_safetensors(&other, &[tensor("a", &[7])], &metadata).unwrap_err().to_string();
    assert!(misshapen.contains("tensor `a`: 6 values for shape [7]"), "{misshapen}");
    let twice = write_safetensors(&other, &[tensor("a", &[6]), tensor("a", &[6])], &metadata).unwrap_err();
    assert!(twice.to_string().contains("two tensors `a`"));
    assert!(write_safetensors(folder.join("missing/out.safetensors"), &[], &metadata).is_err());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode();
        let usual = folder.join("usual");
        fs::File::create(&usual).unwrap();
        assert_eq!(mode(&path), mode(&usual), "readable for whoever the umask lets read");
        fs::remove_file(&usual).unwrap();
        let link = folder.join("link.safetensors");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        assert!(write_safetensors(&link, &[tensor("a", &[6])], &metadata).is_err());
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink("out.safetensors", &link).unwrap();
        write_safetensors(&link, &[tensor("b", &[6])], &metadata).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(Checkpoint::open(&path).unwrap().names(), ["b"]);
        fs::remove_file(&link).unwrap();
        let socket = folder.join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(write_safetensors(&socket, &[tensor("a", &[6])], &metadata).is_err());
        assert!(!fs::symlink_metadata(&socket).unwrap().is_file());
        fs::remove_file(&socket).unwrap();
    }
    let left: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["out.safetensors"], "failed writes leave nothing behind");
    fs::remove_dir_all(&folder).unwrap();
}
