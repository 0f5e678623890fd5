//! Shaders: what WGSL lacks, done on its text. Lines that begin with `#` are instructions:
//!
//! - `#include piece`: another file.
//! - `#if CONDITION` .. `#end`: lines for some choices; `NAME == 1`, `!=`, `<` and `>`, joined by `&&`.
//! - `#repeat i COUNT` .. `#end`: lines again for every i below COUNT, with `{i}` replaced. Numbers that are held in
//!   registers get names of their own in this way; arrays would depend on what drivers unroll.
//!
//! Every choice is a constant of the shader, too.

/// A shader, by the name of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Shader {
    Attention,
    Deformable,
    DepthToSpace,
    Depthwise,
    Elementwise,
    Fourier,
    Gather,
    LayerNorm,
    MaxPool,
    Move,
    Product,
    ProductInt8,
    RelativePosition,
    Resize,
    Rotate,
    RowScale,
    Softmax,
    TopK,
    Transpose,
}

/// Choices made before a shader is compiled.
pub(crate) type Choices = [(&'static str, u32)];

impl Shader {
    #[cfg(test)]
    pub(crate) const ALL: [Shader; 19] = [
        Shader::Attention,
        Shader::Deformable,
        Shader::DepthToSpace,
        Shader::Depthwise,
        Shader::Elementwise,
        Shader::Fourier,
        Shader::Gather,
        Shader::LayerNorm,
        Shader::MaxPool,
        Shader::Move,
        Shader::Product,
        Shader::ProductInt8,
        Shader::RelativePosition,
        Shader::Resize,
        Shader::Rotate,
        Shader::RowScale,
        Shader::Softmax,
        Shader::TopK,
        Shader::Transpose,
    ];

    /// How many buffers it reads; the one it writes comes after them.
    pub(crate) fn inputs(self) -> usize {
        match self {
            Shader::Attention => 5,
            Shader::DepthToSpace => 2,
            Shader::Deformable | Shader::Depthwise | Shader::Product => 4,
            Shader::Elementwise => 2,
            Shader::Fourier | Shader::Gather | Shader::Rotate => 2,
            Shader::LayerNorm | Shader::RelativePosition => 3,
            Shader::MaxPool | Shader::Move | Shader::Resize | Shader::RowScale => 1,
            Shader::Softmax | Shader::TopK | Shader::Transpose => 1,
            Shader::ProductInt8 => 6,
        }
    }

    /// How many words of parameters it takes.
    pub(crate) fn params(self) -> usize {
        match self {
            Shader::Attention | Shader::RelativePosition => 30,
            Shader::DepthToSpace | Shader::MaxPool | Shader::Resize => 13,
            Shader::Depthwise | Shader::Product | Shader::ProductInt8 | Shader::RowScale => 28,
            Shader::Elementwise | Shader::LayerNorm | Shader::Transpose => 9,
            Shader::Deformable => 21,
            Shader::Fourier | Shader::TopK => 8,
            Shader::Gather => 12,
            Shader::Softmax => 6,
            Shader::Move | Shader::Rotate => 10,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Shader::Attention => include_str!("shaders/attention.wgsl"),
            Shader::Deformable => include_str!("shaders/deformable.wgsl"),
            Shader::DepthToSpace => include_str!("shaders/depth_to_space.wgsl"),
            Shader::Depthwise => include_str!("shaders/depthwise.wgsl"),
            Shader::Elementwise => include_str!("shaders/elementwise.wgsl"),
            Shader::Fourier => include_str!("shaders/fourier.wgsl"),
            Shader::Gather => include_str!("shaders/gather.wgsl"),
            Shader::LayerNorm => include_str!("shaders/layer_norm.wgsl"),
            Shader::MaxPool => include_str!("shaders/max_pool.wgsl"),
            Shader::Move => include_str!("shaders/move.wgsl"),
            Shader::Product => include_str!("shaders/product.wgsl"),
            Shader::ProductInt8 => include_str!("shaders/product_int8.wgsl"),
            Shader::RelativePosition => include_str!("shaders/relative_position.wgsl"),
            Shader::Resize => include_str!("shaders/resize.wgsl"),
            Shader::Rotate => include_str!("shaders/rotate.wgsl"),
            Shader::RowScale => include_str!("shaders/row_scale.wgsl"),
            Shader::Softmax => include_str!("shaders/softmax.wgsl"),
            Shader::TopK => include_str!("shaders/top_k.wgsl"),
            Shader::Transpose => include_str!("shaders/transpose.wgsl"),
        }
    }

    /// The WGSL of a shader for some choices.
    ///
    /// # Errors
    /// An instruction that cannot be followed: a mistake in a shader.
    pub(crate) fn wgsl(self, choices: &Choices) -> Result<String, String> {
        let mut wgsl: String =
            choices.iter().map(|(name, value)| format!("const {name}: u32 = {value}u;\n")).collect();
        let lines: Vec<&str> = self.text().lines().collect();
        expand(&lines, choices, &mut Vec::new(), &mut wgsl)?;
        Ok(wgsl)
    }
}

/// The pieces that shaders include.
const PIECES: &[(&str, &str)] = &[
    ("activation", include_str!("shaders/activation.wgsl")),
    ("attention_params", include_str!("shaders/attention_params.wgsl")),
    ("common", include_str!("shaders/common.wgsl")),
    ("ending", include_str!("shaders/ending.wgsl")),
    ("product_params", include_str!("shaders/product_params.wgsl")),
    ("rows", include_str!("shaders/rows.wgsl")),
];

fn expand(
    lines: &[&str],
    choices: &Choices,
    counters: &mut Vec<(String, u32)>,
    to: &mut String,
) -> Result<(), String> {
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at];
        let Some(instruction) = line.strip_prefix('#') else {
            if !line.trim_start().starts_with("//") {
                let mut line = line.to_owned();
                for (name, value) in counters.iter() {
                    line = line.replace(&format!("{{{name}}}"), &value.to_string());
                }
                to.push_str(&line);
                to.push('\n');
            }
            at += 1;
            continue;
        };
        let wrong = || format!("`{line}` cannot be followed");
        let (word, rest) = instruction.split_once(' ').ok_or_else(wrong)?;
        if word == "include" {
            let piece = PIECES.iter().find(|(name, _)| *name == rest).ok_or_else(wrong)?.1;
            expand(&piece.lines().collect::<Vec<_>>(), choices, counters, to)?;
            at += 1;
            continue;
        }
        if !matches!(word, "if" | "repeat") {
            return Err(wrong());
        }
        let end = at + end_of(&lines[at..]).ok_or_else(wrong)?;
        let body = &lines[at + 1..end];
        match word {
            "if" => {
                if holds(rest, choices).ok_or_else(wrong)? {
                    expand(body, choices, counters, to)?;
                }
            }
            _ => {
                let (counter, count) = rest.split_once(' ').ok_or_else(wrong)?;
                for value in 0..number(count, choices).ok_or_else(wrong)? {
                    counters.push((counter.to_owned(), value));
                    expand(body, choices, counters, to)?;
                    counters.pop();
                }
            }
        }
        at = end + 1;
    }
    Ok(())
}

/// Where the `#end` of the instruction in the first line is.
fn end_of(lines: &[&str]) -> Option<usize> {
    let mut depth = 0;
    lines.iter().position(|line| {
        if line.starts_with("#if") || line.starts_with("#repeat") {
            depth += 1;
        } else if line.starts_with("#end") {
            depth -= 1;
        }
        depth == 0
    })
}

fn holds(condition: &str, choices: &Choices) -> Option<bool> {
    condition.split("&&").try_fold(true, |all, part| {
        let words: Vec<&str> = part.split_whitespace().collect();
        let &[left, relation, right] = words.as_slice() else { return None };
        let (left, right) = (number(left, choices)?, number(right, choices)?);
        let one = match relation {
            "==" => left == right,
            "!=" => left != right,
            "<" => left < right,
            ">" => left > right,
            _ => return None,
        };
        Some(all && one)
    })
}

fn number(word: &str, choices: &Choices) -> Option<u32> {
    word.parse().ok().or_else(|| Some(choices.iter().find(|(name, _)| *name == word)?.1))
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
