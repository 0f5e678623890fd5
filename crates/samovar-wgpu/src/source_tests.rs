use super::{Shader, expand};

fn expanded(text: &str, choices: &super::Choices) -> Result<String, String> {
    let mut to = String::new();
    expand(&text.lines().collect::<Vec<_>>(), choices, &mut Vec::new(), &mut to)?;
    Ok(to)
}

#[test]
fn instructions_nest() {
    let text = "#repeat i N\n#repeat j 2\na_{i}_{j}\n#end\n#if N > 1 && N != 3\nb_{i}\n#end\n#end\n#if N == 1\nc\n#end\n// d\n";
    assert_eq!(expanded(text, &[("N", 1)]).unwrap(), "a_0_0\na_0_1\nc\n");
    assert_eq!(expanded(text, &[("N", 2)]).unwrap(), "a_0_0\na_0_1\nb_0\na_1_0\na_1_1\nb_1\n");
}

#[test]
fn what_cannot_be_followed_is_named() {
    for text in
        ["#include nothing", "#if N ~ 1\n#end", "#repeat i M\n#end", "#if N == 1", "#perhaps x\n#end", "#end"]
    {
        let error = expanded(text, &[("N", 1)]).unwrap_err();
        assert!(error.contains(text.lines().next().unwrap()), "{error}");
    }
}

/// The host's numbers of operands and parameters are those of the shaders' texts.
#[test]
fn operands_and_parameters_are_those_of_the_text() {
    for shader in Shader::ALL {
        let choices = [
            ("ACT", 1),
            ("BIAS", 1),
            ("BILINEAR", 1),
            ("CHUNKS", 1),
            ("COLUMNS", 4),
            ("LAYOUT", 1),
            ("LEFT", 3),
            ("OP", 1),
            ("RESIDUAL", 1),
            ("RIGHT", 1),
            ("ROWS", 4),
            ("SIDE", 4),
            ("TILE", 64),
            ("TILE_M", 64),
            ("TILE_N", 64),
        ];
        let wgsl = shader.wgsl(&choices).unwrap();
        let bindings = wgsl.matches("@binding(").count();
        let written = format!("@binding({}) var<storage, read_write> out", shader.inputs());
        assert!(
            bindings == shader.inputs() + 1 && wgsl.contains(&written),
            "{shader:?}: {bindings} bindings"
        );
        let params = wgsl.split("struct Params {").nth(1).unwrap().split('}').next().unwrap();
        assert_eq!(params.matches(": ").count(), shader.params(), "{shader:?}");
    }
}
