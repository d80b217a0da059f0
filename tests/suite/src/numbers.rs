//! torch's results with NaN, infinity and overflow, element by element; neighbours are never affected.

use anyhow::{Result, ensure};
use wgpu_adam::{AdamConfig, WgpuAdam};

use crate::{
    Body, Gpu, body,
    golden::Key,
    readback::{read_state, read_tensor},
    twin::TwinTensor,
};

pub const BODIES: &[(&str, Body)] = &[body!("numbers/not finite", gpu => not_finite(gpu))];

/// NaN, infinite with its sign, or finite.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Finite,
    Infinite,
    Nan,
}

fn kind(x: f32) -> Kind {
    match x.to_bits() & 0x7fff_ffff {
        0x7f80_0000 => Kind::Infinite,
        bits if bits > 0x7f80_0000 => Kind::Nan,
        _ => Kind::Finite,
    }
}

/// A special first gradient among ordinary ones, and its element after that step and after an ordinary step.
async fn not_finite(gpu: &Gpu) -> Result<()> {
    use Kind::{Finite, Infinite, Nan};
    // exp_avg, exp_avg_sq, max_exp_avg_sq, param: after the first step, after the second. Results of torch 2.15.
    let cases: [(f32, [Kind; 4], [Kind; 4]); 5] = [
        (f32::NAN, [Nan; 4], [Nan; 4]),
        (f32::INFINITY, [Infinite, Infinite, Infinite, Nan], [Nan, Infinite, Infinite, Nan]),
        (f32::NEG_INFINITY, [Infinite, Infinite, Infinite, Nan], [Nan, Infinite, Infinite, Nan]),
        // The square overflows: the parameter never moves again.
        (1e25, [Finite, Infinite, Infinite, Finite], [Finite, Infinite, Infinite, Finite]),
        // The square would overflow without the weight, which multiplies first.
        (1e20, [Finite; 4], [Finite; 4]),
    ];
    for (special, first, second) in cases {
        for at in [0, 1, 6, 8] {
            let tensor = TwinTensor::alone(gpu, "a", 9);
            let config = AdamConfig { amsgrad: true, ..Default::default() };
            let mut adam = WgpuAdam::new(&gpu.device, &gpu.queue, [tensor.as_param()], config)?;
            let id = adam.find("a").ok_or_else(|| anyhow::anyhow!("no parameter"))?;
            for (step, wanted) in [first, second].into_iter().enumerate() {
                let mut grad = [0.5_f32; 9];
                if step == 0 {
                    grad[at] = special;
                }
                gpu.queue.write_buffer(tensor.grad.buffer(), 0, bytemuck::cast_slice(&grad));
                adam.step()?;
                let state = adam.state(id)?;
                let mut columns = Vec::new();
                for key in [Key::ExpAvg, Key::ExpAvgSq, Key::MaxExpAvgSq] {
                    columns.push(read_state(gpu, &state, key).await?);
                }
                columns.push(read_tensor(gpu, &tensor.param, 9).await?);
                let got: Vec<Kind> = columns.iter().map(|column| kind(column[at])).collect();
                ensure!(got == wanted, "{special:e} at {at}, step {}: {got:?} instead of {wanted:?}", step + 1);
                for column in &columns {
                    let others = (0..9).filter(|&other| other != at);
                    let hurt: Vec<usize> = others.filter(|&other| kind(column[other]) != Finite).collect();
                    ensure!(hurt.is_empty(), "{special:e} at {at} affected {hurt:?}");
                }
            }
        }
    }
    Ok(())
}
