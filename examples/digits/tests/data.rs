//! Compares the data and the integer rules with torch's recorded run.

use digits::data::{CLASSES, Dataset};
use digits::rules::{epoch_order, uniform};
use digits::{TorchRun, model};

#[test]
fn all_digits_are_there_and_split() {
    let dataset = Dataset::embedded().unwrap();
    assert_eq!((dataset.train.len(), dataset.test.len()), (1437, 360));
    for digit in dataset.train.iter().chain(&dataset.test) {
        assert!(usize::from(digit.label) < CLASSES);
        assert!(digit.pixels.iter().all(|pixel| (0.0..=1.0).contains(pixel)));
    }
    let first = &dataset.test[0];
    assert_eq!((first.label, &first.pixels[..4]), (0, &[0.0, 0.0, 0.3125, 0.8125][..]));
}

#[test]
fn malformed_lines_are_errors() {
    let good = format!("{}7", "1,".repeat(64));
    assert!(Dataset::parse(&format!("{good}\n{good}\n")).is_ok());
    for bad in ["", "1,2,3", &format!("{}7", "1,".repeat(63)), &format!("{}10", "1,".repeat(64))] {
        assert!(Dataset::parse(&format!("{good}\n{good}\n{bad}\n{good}")).is_err(), "{bad:?}");
    }
    assert!(Dataset::parse(&good).is_err(), "nothing to train on");
}

#[test]
fn initial_weights_and_batch_order_are_those_of_the_recorded_run() {
    let torch = TorchRun::recorded().unwrap();
    let weights = uniform(0, 4, 1.0 / 64f64.sqrt());
    assert_eq!(weights, torch.initial_w1_first_4);
    let order = epoch_order(0, 1437);
    assert_eq!(order[..torch.first_positions_of_epoch_0.len()], torch.first_positions_of_epoch_0);
    assert_eq!(torch.batch, model::BATCH);
    assert_eq!(torch.loss_per_step.len(), torch.epochs * 1437usize.div_ceil(torch.batch));
}
