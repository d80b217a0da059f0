//! The table that `Display` prints for a state dict.

use std::collections::HashSet;
use std::fmt::{Display, Formatter, Result, Write};

use super::{StateDict, StateGroup, TensorState};
use crate::options::grad_scaler::GradScalerState;
use crate::planes::Plane;

const HEAD: [&str; 4] = ["id", "name", "shape", "step"];
const COLUMNS: usize = HEAD.len() + Plane::ALL.len();

impl Display for StateDict {
    /// Prints a line for each group, and under it a line for each of its parameters, with the root mean square of each
    /// moment. The last line is the dynamic loss scale.
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let head = HEAD.into_iter().chain(Plane::ALL.map(Plane::key)).map(str::to_owned).collect();
        let mut table = Table { rows: vec![head], heads: Vec::new() };
        for (number, group) in self.param_groups.iter().enumerate() {
            table.heads.push((table.rows.len(), options(number, group)));
            for (position, id) in group.params.iter().enumerate() {
                let name = group.param_names.as_ref().and_then(|names| names.get(position));
                table.rows.push(row(*id, name.map_or("", String::as_str), self.state.get(id)));
            }
        }
        let listed: HashSet<u64> = self.param_groups.iter().flat_map(|group| group.params.iter().copied()).collect();
        let strays: Vec<_> = self.state.iter().filter(|(id, _)| !listed.contains(id)).collect();
        if !strays.is_empty() {
            table.heads.push((table.rows.len(), "in no group".to_owned()));
            table.rows.extend(strays.into_iter().map(|(id, entry)| row(*id, "", Some(entry))));
        }
        let params: usize = self.param_groups.iter().map(|group| group.params.len()).sum();
        let groups = self.param_groups.len();
        write!(
            f,
            "StateDict, version {}: {groups} groups, {params} parameters, {} with state",
            self.version,
            self.state.len()
        )?;
        table.write(f)?;
        self.grad_scaler.map_or(Ok(()), |scaler| write!(f, "\n{}", grad_scaler(&scaler)))
    }
}

/// Rows of cells, and lines that precede some of the rows.
struct Table {
    rows: Vec<Vec<String>>,
    heads: Vec<(usize, String)>,
}

impl Table {
    fn write(&self, f: &mut Formatter<'_>) -> Result {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..COLUMNS).map(width).collect();
        let mut heads = self.heads.iter().peekable();
        for number in 0..=self.rows.len() {
            while let Some((_, head)) = heads.next_if(|(before, _)| *before == number) {
                write!(f, "\n{head}")?;
            }
            let Some(row) = self.rows.get(number) else { break };
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                write!(line, "  {cell:width$}")?;
            }
            write!(f, "\n{}", line.trim_end())?;
        }
        Ok(())
    }
}

fn grad_scaler(scaler: &GradScalerState) -> String {
    let GradScalerState { scale, growth_factor, backoff_factor, growth_interval, growth_tracker } = scaler;
    format!(
        "grad_scaler: scale {scale:?}, growth_factor {growth_factor:?}, backoff_factor {backoff_factor:?}, \
         growth_interval {growth_interval}, growth_tracker {growth_tracker}"
    )
}

fn options(number: usize, group: &StateGroup) -> String {
    let mut line = format!("group {number}:");
    let numbers = [("lr", group.lr), ("eps", group.eps), ("weight_decay", group.weight_decay)];
    let flags = [
        ("amsgrad", group.amsgrad),
        ("maximize", group.maximize),
        ("decoupled_weight_decay", group.decoupled_weight_decay),
    ];
    let mut words: Vec<String> =
        numbers.iter().filter_map(|(key, value)| Some(format!("{key} {:?}", (*value)?))).collect();
    words.extend(group.betas.map(|betas| format!("betas {betas:?}")));
    words.extend(flags.iter().filter(|(_, on)| *on == Some(true)).map(|(key, _)| (*key).to_owned()));
    words.extend(group.extra.iter().map(|(key, value)| format!("{key} {value}")));
    line.extend(words.iter().flat_map(|word| [" ", word, ","]));
    line.trim_end_matches([',', ':']).to_owned()
}

fn row(id: u64, name: &str, entry: Option<&TensorState>) -> Vec<String> {
    let mut cells = vec![id.to_string(), name.to_owned()];
    if let Some(entry) = entry {
        cells.extend([format!("{:?}", entry.shape), entry.step.to_string()]);
        cells.extend(entry.moments().map(|(_, moment)| format!("{:.3e}", rms(moment))));
    }
    cells
}

/// The root mean square: one number that shows whether a moment is zero, huge or not finite.
fn rms(values: &[f32]) -> f64 {
    let sum: f64 = values.iter().map(|value| f64::from(*value).powi(2)).sum();
    (sum / values.len().max(1) as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use crate::state_dict::{StateDict, StateGroup, TensorState};
    use crate::{AdamConfig, GradScalerState};

    #[test]
    fn display_is_a_table() {
        let mut dict = StateDict::default();
        let config = AdamConfig { amsgrad: true, ..Default::default() };
        dict.param_groups.push(StateGroup::new(
            &AdamConfig::default(),
            vec![0, 1],
            Some(vec!["w".into(), "bias".into()]),
        ));
        dict.param_groups.push(StateGroup::new(&config, vec![2], None));
        let entry = TensorState {
            step: 7,
            shape: vec![2],
            exp_avg: vec![3.0, 4.0],
            exp_avg_sq: vec![0.0; 2],
            max_exp_avg_sq: None,
        };
        dict.state.insert(1, entry.clone());
        dict.grad_scaler = Some(GradScalerState {
            scale: 4096.0,
            growth_factor: 2.0,
            backoff_factor: 0.5,
            growth_interval: 2000,
            growth_tracker: 17,
        });
        dict.state.insert(9, TensorState { max_exp_avg_sq: Some(vec![1.0, 1.0]), ..entry });
        let want = "\
StateDict, version 1: 2 groups, 3 parameters, 2 with state
  id  name  shape  step  exp_avg  exp_avg_sq  max_exp_avg_sq
group 0: lr 0.001, eps 1e-8, weight_decay 0.0, betas (0.9, 0.999)
  0   w
  1   bias  [2]    7     3.536e0  0.000e0
group 1: lr 0.001, eps 1e-8, weight_decay 0.0, betas (0.9, 0.999), amsgrad
  2
in no group
  9         [2]    7     3.536e0  0.000e0     1.000e0
grad_scaler: scale 4096.0, growth_factor 2.0, backoff_factor 0.5, growth_interval 2000, growth_tracker 17";
        assert_eq!(format!("{dict}"), want);
        let head = "StateDict, version 1: 0 groups, 0 parameters, 0 with state\n  id  name  shape  step  exp_avg  exp_avg_sq  max_exp_avg_sq";
        assert_eq!(format!("{}", StateDict::default()), head);
    }
}
