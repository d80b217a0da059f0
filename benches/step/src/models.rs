//! The shapes of models: names and dimensions, as an arena takes them.

/// Names and shapes, in order.
pub type Shapes = Vec<(String, Vec<usize>)>;

pub fn elements(shapes: &Shapes) -> u64 {
    shapes.iter().map(|(_, shape)| shape.iter().product::<usize>() as u64).sum()
}

/// `count` tensors of `length` elements.
pub fn equal(count: usize, length: usize) -> Shapes {
    (0..count).map(|number| (format!("tensor{number}"), vec![length])).collect()
}

/// GPT-2 small's 148 parameters, scaled down to 8 M elements with every dimension odd.
pub fn gpt2() -> Shapes {
    // For 768, 50257, 1024 and four times 768.
    const WIDTH: usize = 195;
    const VOCABULARY: usize = 12_821;
    const CONTEXT: usize = 257;
    const HIDDEN: usize = 4 * WIDTH + 1;
    let mut shapes = Shapes::new();
    let mut add = |name: String, shape: &[usize]| shapes.push((name, shape.to_vec()));
    add("wte.weight".into(), &[VOCABULARY, WIDTH]);
    add("wpe.weight".into(), &[CONTEXT, WIDTH]);
    for block in 0..12 {
        let layers: [(&str, &[usize]); 6] = [
            ("ln_1", &[WIDTH]),
            ("attn.c_attn", &[WIDTH, 3 * WIDTH]),
            ("attn.c_proj", &[WIDTH, WIDTH]),
            ("ln_2", &[WIDTH]),
            ("mlp.c_fc", &[WIDTH, HIDDEN]),
            ("mlp.c_proj", &[HIDDEN, WIDTH]),
        ];
        for (layer, weight) in layers {
            add(format!("h.{block}.{layer}.weight"), weight);
            add(format!("h.{block}.{layer}.bias"), &weight[weight.len() - 1..]);
        }
    }
    add("ln_f.weight".into(), &[WIDTH]);
    add("ln_f.bias".into(), &[WIDTH]);
    shapes
}

/// ResNet-18's 62 parameters, scaled down to 8 M elements with every dimension odd.
pub fn resnet18() -> Shapes {
    // For 64, 128, 256, 512 and 1000.
    const CHANNELS: [usize; 4] = [53, 105, 211, 423];
    const CLASSES: usize = 999;
    let mut shapes = Shapes::new();
    let mut convolution = |name: &str, norm: &str, [out, of, size]: [usize; 3]| {
        shapes.push((format!("{name}.weight"), vec![out, of, size, size]));
        shapes.push((format!("{norm}.weight"), vec![out]));
        shapes.push((format!("{norm}.bias"), vec![out]));
    };
    convolution("conv1", "bn1", [CHANNELS[0], 3, 7]);
    let mut of = CHANNELS[0];
    for (layer, out) in (1..).zip(CHANNELS) {
        for block in 0..2 {
            let name = |part: &str| format!("layer{layer}.{block}.{part}");
            convolution(&name("conv1"), &name("bn1"), [out, of, 3]);
            convolution(&name("conv2"), &name("bn2"), [out, out, 3]);
            if of != out {
                convolution(&name("downsample.0"), &name("downsample.1"), [out, of, 1]);
            }
            of = out;
        }
    }
    shapes.push(("fc.weight".into(), vec![CLASSES, of]));
    shapes.push(("fc.bias".into(), vec![CLASSES]));
    shapes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_have_their_tensors_and_odd_lengths() {
        for (model, tensors) in [(gpt2(), 148), (resnet18(), 62)] {
            assert_eq!(model.len(), tensors);
            assert!((7_500_000..8_500_000).contains(&elements(&model)), "{}", elements(&model));
            assert!(model.iter().all(|(_, shape)| shape.iter().product::<usize>() % 2 == 1));
        }
        assert_eq!(elements(&equal(1000, 1024)), 1_024_000);
    }
}
