//! Cases of the fused operators of the mask decoder.

use samovar_tensor::{Activation, FoldedAttention};

use super::cases::Cases;
use crate::Tolerance;

pub(super) fn add(cases: &mut Cases) {
    for (x_batch, batch, rows, tokens, heads, channels) in [
        (1, 1, 1, 1, 1, 1),
        (1, 1, 300, 7, 8, 64),
        (1, 3, 130, 6, 8, 32),
        (2, 2, 1030, 9, 4, 48),
        (3, 3, 17, 16, 8, 256),
        (1, 2, 70, 5, 3, 20),
    ] {
        let sizes = format!("{x_batch}x{rows}x{channels}, {batch}x{tokens} tokens, {heads} heads");
        let tolerance = Tolerance::Softmax { terms: 3 * channels };
        cases.add(format!("folded_attention {sizes}"), tolerance, move |device, random| {
            let x = random.on(device, [x_batch, rows, channels], 1.0)?;
            let positions = random.on(device, [1, rows, channels], 1.0)?;
            let scale = 1.0 / (channels as f32).sqrt();
            let keys = random.on(device, [batch, tokens, heads * (channels + 1)], scale)?;
            let values = random.on(device, [batch, tokens, heads * channels], 1.0)?;
            let (gamma, beta) = (random.tensor([channels], 1.0), random.tensor([channels], 1.0));
            // A few channels may all be nearly alike; their deviation must not be divided by.
            let norm = device.load_layer_norm(&gamma, &beta, 0.1)?;
            device.folded_attention(&FoldedAttention {
                x: &x,
                positions: &positions,
                keys: &keys,
                values: &values,
                heads,
                norm: &norm,
            })
        });
    }
    for (batch, [height, width], inputs, channels, factors, masks, activation) in [
        (1, [1, 1], 1, [1, 1], [1, 1], 1, Activation::Identity),
        (2, [3, 5], 32, [16, 8], [2, 2], 3, Activation::Gelu),
        (1, [4, 70], 64, [24, 12], [2, 2], 4, Activation::Gelu),
        (3, [2, 8], 40, [64, 32], [2, 2], 1, Activation::Relu),
        (1, [5, 3], 20, [7, 5], [3, 2], 17, Activation::Identity),
    ] {
        let name = format!(
            "mask_logits {batch}x{height}x{width}x{inputs} to {channels:?} by {factors:?}, {masks} masks, {activation:?}"
        );
        cases.add(name, Tolerance::Softmax { terms: 2 * inputs + channels[1] }, move |device, random| {
            let mut layer = |inputs: usize, outputs: usize, factor: usize| {
                let weight = random.tensor([inputs, outputs, factor, factor], 1.0 / (inputs as f32).sqrt());
                (weight, random.tensor([outputs], 1.0))
            };
            let first = layer(inputs, channels[0], factors[0]);
            let second = layer(channels[0], channels[1], factors[1]);
            let (gamma, beta) = (random.tensor([channels[0]], 1.0), random.tensor([channels[0]], 1.0));
            let norm = device.load_layer_norm(&gamma, &beta, 0.1)?;
            let layers = [(&first.0, &first.1), (&second.0, &second.1)];
            let head = device.load_mask_head(layers, norm, activation)?;
            let scale = 1.0 / (channels[1] as f32).sqrt();
            let vectors = random.on(device, [batch, masks, channels[1]], scale)?;
            let x = random.on(device, [batch, height, width, inputs], 1.0)?;
            device.mask_logits(&x, &head, &vectors)
        });
    }
}
