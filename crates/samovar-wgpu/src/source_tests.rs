use naga::back::{hlsl, msl};
use naga::valid::{Capabilities, ValidationFlags, Validator};

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
            ("ADD", 1),
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

/// Choices that cover every line of a shader.
fn choices(shader: Shader) -> Vec<Vec<(&'static str, u32)>> {
    let each = |name: &'static str, count: u32| -> Vec<Vec<(&'static str, u32)>> {
        (0..count).map(|value| vec![(name, value)]).collect()
    };
    let times = |all: Vec<Vec<(&'static str, u32)>>, with: Vec<Vec<(&'static str, u32)>>| -> Vec<Vec<_>> {
        all.iter().flat_map(|one| with.iter().map(|other| [one.clone(), other.clone()].concat())).collect()
    };
    let endings = || -> Vec<Vec<(&'static str, u32)>> {
        (0..6).map(|act| vec![("ACT", act), ("BIAS", act % 2), ("RESIDUAL", act % 3)]).collect()
    };
    let tile = |rows: u32, columns: u32| {
        vec![("TILE_M", rows), ("TILE_N", columns), ("ROWS", rows / 16), ("COLUMNS", columns / 16)]
    };
    let tiles = || vec![tile(16, 64), tile(64, 64), tile(128, 128)];
    match shader {
        Shader::Product => times(times(times(each("LEFT", 4), each("RIGHT", 4)), tiles()), endings()),
        Shader::ProductInt8 => times(times(each("LEFT", 4), tiles()), endings()),
        Shader::RowScale => each("LEFT", 4),
        Shader::Depthwise => endings(),
        // It has no bias.
        Shader::DepthToSpace => times(vec![vec![("BIAS", 0)]], times(each("ACT", 6), each("RESIDUAL", 3))),
        Shader::LayerNorm => each("ACT", 6),
        Shader::Elementwise => times(each("OP", 6), each("ACT", 6)),
        Shader::Deformable => each("ADD", 2),
        Shader::Resize => each("BILINEAR", 2),
        Shader::RelativePosition => each("LAYOUT", 2),
        Shader::Attention => {
            let sizes = [(16, 1, 1), (32, 1, 2), (64, 1, 4), (64, 4, 4)];
            let sizes = sizes.map(|(tile, chunks, columns)| {
                vec![("TILE", tile), ("SIDE", tile / 16), ("CHUNKS", chunks), ("COLUMNS", columns)]
            });
            times(times(each("BIAS", 4), each("LAYOUT", 2)), sizes.into())
        }
        _ => vec![Vec::new()],
    }
}

/// What no machine of CI runs is at least translated there, for Metal and for DirectX.
#[test]
fn every_shader_is_valid_and_translates_for_metal_and_directx() {
    let mut count = 0;
    for shader in Shader::ALL {
        for choices in choices(shader) {
            let wgsl = shader.wgsl(&choices).unwrap();
            let module = naga::front::wgsl::parse_str(&wgsl);
            let module = module.unwrap_or_else(|error| panic!("{shader:?} {choices:?}: {error:?}"));
            let capabilities = Capabilities::IMMEDIATES | Capabilities::SHADER_FLOAT16_IN_FLOAT32;
            let info = Validator::new(ValidationFlags::all(), capabilities).validate(&module);
            let info = info.unwrap_or_else(|error| panic!("{shader:?} {choices:?}: {error:?}"));
            let options = msl::Options { lang_version: (2, 4), ..msl::Options::default() };
            let metal = msl::write_string(&module, &info, &options, &msl::PipelineOptions::default());
            assert!(metal.unwrap_or_else(|error| panic!("{shader:?}: {error}")).0.contains("kernel void"));
            let options = hlsl::Options {
                immediates_target: Some(hlsl::BindTarget::default()),
                fake_missing_bindings: true,
                ..hlsl::Options::default()
            };
            let mut directx = String::new();
            let pipeline = hlsl::PipelineOptions::default();
            let written = hlsl::Writer::new(&mut directx, &options, &pipeline).write(&module, &info, None);
            written.unwrap_or_else(|error| panic!("{shader:?}: {error}"));
            assert!(directx.contains("[numthreads("));
            count += 1;
        }
    }
    assert!(count > 300, "{count} variants");
}
