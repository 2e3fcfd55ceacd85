//! Interleaved rounds: each contestant takes its turn in each round, in an order that changes from round to round.
//!
//! Whatever else the machine does slows all of a round's turns about equally, so two contestants are compared by the
//! ratio within each round and by the median of those ratios. One round is run before and thrown away.

use std::time::{Duration, Instant};

use crate::bench::{Bench, Chance, Outcome};
use crate::report::{Table, micros, number};

/// What one turn came to.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// How many operations were done.
    pub count: u64,
    /// How long they took together.
    pub took: Duration,
    /// How long each took, as far as that is known: for percentiles.
    pub each: Vec<Duration>,
}

impl Sample {
    /// Microseconds an operation, by the whole.
    pub fn cost(&self) -> f64 {
        self.took.as_secs_f64() * 1e6 / self.count.max(1) as f64
    }
}

/// Does `act` so many times, one after the other, and takes the time of each. It is given 0, 1, 2, …
///
/// # Errors
/// The first of `act`.
pub fn timed(times: usize, mut act: impl FnMut(usize) -> Outcome<()>) -> Outcome<Sample> {
    let mut sample = Sample::default();
    for n in 0..times {
        let start = Instant::now();
        act(n)?;
        let took = start.elapsed();
        sample.count += 1;
        sample.took += took;
        sample.each.push(took);
    }
    Ok(sample)
}

/// How many rounds, and for how long at most.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// So many rounds,
    pub rounds: usize,
    /// but none begins after this, unless fewer than three were done.
    pub within: Duration,
}

impl Effort {
    /// So many rounds within a minute; in the quick form a third of them, within so many seconds.
    pub fn of(bench: &Bench, rounds: usize, quick_seconds: u64) -> Effort {
        if bench.quick {
            Effort { rounds: (rounds / 3).max(3), within: Duration::from_secs(quick_seconds) }
        } else {
            Effort { rounds, within: Duration::from_secs(60) }
        }
    }
}

type Turn<'a> = Box<dyn FnMut(usize) -> Outcome<Sample> + 'a>;

/// Contestants that will take turns.
#[derive(Default)]
pub struct Contest<'a> {
    names: Vec<String>,
    turns: Vec<Turn<'a>>,
}

impl<'a> Contest<'a> {
    /// Without contestants so far.
    pub fn new() -> Contest<'a> {
        Contest::default()
    }

    /// Another contestant. Its turn is given the number of the round: 0 for the one that is thrown away, then 1, 2, …
    pub fn enter(&mut self, name: impl Into<String>, turn: impl FnMut(usize) -> Outcome<Sample> + 'a) {
        self.names.push(name.into());
        self.turns.push(Box::new(turn));
    }

    /// Runs the rounds.
    ///
    /// # Errors
    /// The first of a turn, with the contestant's name; and when a turn did nothing.
    pub fn run(mut self, effort: Effort, mut chance: Chance) -> Outcome<Rounds> {
        let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); self.turns.len()];
        let mut order: Vec<usize> = (0..self.turns.len()).collect();
        let mut start = Instant::now();
        for round in 0..=effort.rounds {
            if round > 3 && start.elapsed() > effort.within {
                break;
            }
            chance.shuffle(&mut order);
            for at in &order {
                let (Some(turn), Some(name)) = (self.turns.get_mut(*at), self.names.get(*at)) else {
                    continue;
                };
                let sample = turn(round).map_err(|error| format!("{name}: {error}"))?;
                if sample.count == 0 {
                    return Err(format!("{name} did nothing in round {round}").into());
                }
                if let (Some(samples), true) = (samples.get_mut(*at), round > 0) {
                    samples.push(sample);
                }
            }
            if round == 0 {
                start = Instant::now();
            }
        }
        Ok(Rounds { names: self.names, samples })
    }
}

/// What the rounds came to.
#[derive(Debug, Clone)]
pub struct Rounds {
    names: Vec<String>,
    samples: Vec<Vec<Sample>>,
}

impl Rounds {
    /// How many rounds were counted.
    pub fn count(&self) -> usize {
        self.samples.first().map_or(0, Vec::len)
    }

    /// The contestants, in the order they were entered.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The turns of a contestant.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn of(&self, name: &str) -> Outcome<&[Sample]> {
        let at = self.names.iter().position(|n| n == name);
        let samples = at.and_then(|at| self.samples.get(at));
        Ok(samples.ok_or_else(|| format!("there is no contestant {name}"))?)
    }

    /// Microseconds an operation, over the rounds.
    ///
    /// # Errors
    /// When there is no such contestant.
    pub fn cost(&self, name: &str) -> Outcome<Spread> {
        Spread::of(self.of(name)?.iter().map(Sample::cost).collect())
    }

    /// Operations a second, over the rounds.
    ///
    /// # Errors
    /// When there is no such contestant.
    pub fn rate(&self, name: &str) -> Outcome<Spread> {
        Spread::of(self.of(name)?.iter().map(|sample| 1e6 / sample.cost()).collect())
    }

    /// How many times as dear as `floor` an operation is, round by round.
    ///
    /// # Errors
    /// When there is no such contestant.
    pub fn cost_ratio(&self, name: &str, floor: &str) -> Outcome<Spread> {
        let pairs = self.of(name)?.iter().zip(self.of(floor)?);
        Spread::of(pairs.map(|(one, other)| one.cost() / other.cost()).collect())
    }

    /// How many times the rate of `floor` it reaches, round by round.
    ///
    /// # Errors
    /// When there is no such contestant.
    pub fn rate_ratio(&self, name: &str, floor: &str) -> Outcome<Spread> {
        self.cost_ratio(floor, name)
    }

    /// Microseconds that a single operation took, over all rounds, sorted: for [`percentile`].
    ///
    /// # Errors
    /// When there is no such contestant.
    pub fn each(&self, name: &str) -> Outcome<Vec<f64>> {
        let each = self.of(name)?.iter().flat_map(|sample| &sample.each);
        let mut each: Vec<f64> = each.map(|took| took.as_secs_f64() * 1e6).collect();
        each.sort_by(f64::total_cmp);
        Ok(each)
    }

    /// A table of all contestants: cost, percentiles, ratio to `floor`.
    ///
    /// # Errors
    /// When there is no such floor.
    pub fn table(&self, name: &str, title: &str, floor: &str) -> Outcome<Table> {
        let mut table = Table::new(
            name,
            title,
            &["", "p50 µs", "p99 µs", "min µs", "max µs", &format!("× {floor}"), "quartiles"],
        );
        for name in &self.names {
            let (cost, ratio, each) = (self.cost(name)?, self.cost_ratio(name, floor)?, self.each(name)?);
            let (p50, p99) = if each.is_empty() {
                (cost.median, cost.max)
            } else {
                (percentile(&each, 0.5), percentile(&each, 0.99))
            };
            let (min, max) = (each.first().copied().unwrap_or(cost.min), each.last().copied());
            table.row(vec![
                name.clone(),
                micros(p50),
                micros(p99),
                micros(min),
                micros(max.unwrap_or(cost.max)),
                number(ratio.median),
                format!("{}..{}", number(ratio.q1), number(ratio.q3)),
            ]);
        }
        table.note = format!("{} rounds.", self.count());
        Ok(table)
    }
}

/// The value below which a share of the values lies; 0 when there are none. `sorted` is.
pub fn percentile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let at = (share.clamp(0.0, 1.0) * last as f64).round();
    // The rounding of a share of an index is an index.
    sorted.get(at as usize).copied().unwrap_or_default()
}

/// How a figure was spread over the rounds.
#[derive(Debug, Clone, Copy, PartialEq)]
#[expect(missing_docs, reason = "the fields are what they are called")]
pub struct Spread {
    pub min: f64,
    pub q1: f64,
    pub median: f64,
    pub q3: f64,
    pub max: f64,
}

impl Spread {
    /// Of these values.
    ///
    /// # Errors
    /// When there are none.
    pub fn of(mut values: Vec<f64>) -> Outcome<Spread> {
        values.sort_by(f64::total_cmp);
        if values.is_empty() {
            return Err("nothing was measured".into());
        }
        let at = |share| percentile(&values, share);
        Ok(Spread { min: at(0.0), q1: at(0.25), median: at(0.5), q3: at(0.75), max: at(1.0) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us(us: u64, count: u64) -> Sample {
        Sample { count, took: Duration::from_micros(us * count), each: vec![Duration::from_micros(us)] }
    }

    #[test]
    fn ratios_are_paired_by_round_and_the_first_round_does_not_count() {
        let mut contest = Contest::new();
        // A machine that is ten times slower in every second round, and at first.
        let slow = |round: usize| if round.is_multiple_of(2) { 10 } else { 1 };
        contest.enter("floor", move |round| Ok(us(100 * slow(round), 10)));
        contest
            .enter("product", move |round| Ok(us(if round == 0 { 1_000_000 } else { 110 * slow(round) }, 5)));
        let effort = Effort { rounds: 9, within: Duration::from_secs(60) };
        let rounds = contest.run(effort, Chance::new(1)).unwrap();
        assert_eq!(rounds.count(), 9);
        let ratio = rounds.cost_ratio("product", "floor").unwrap();
        assert!((ratio.min - 1.1).abs() < 1e-9 && (ratio.max - 1.1).abs() < 1e-9, "{ratio:?}");
        assert!((rounds.rate_ratio("floor", "product").unwrap().median - 1.1).abs() < 1e-9);
        assert!((rounds.cost("floor").unwrap().median - 100.0).abs() < 1e-9);
        assert!(rounds.table("t", "T", "floor").unwrap().markdown().contains("| product |"));
        assert!(rounds.cost("nobody").is_err());
    }

    #[test]
    fn time_that_is_up_ends_it_after_three_rounds() {
        let mut contest = Contest::new();
        contest.enter("a", |_| Ok(us(1, 1)));
        let effort = Effort { rounds: 1000, within: Duration::ZERO };
        assert_eq!(contest.run(effort, Chance::new(1)).unwrap().count(), 3);
    }

    #[test]
    fn a_turn_that_did_nothing_is_no_measurement() {
        let mut contest = Contest::new();
        contest.enter("idle", |_| Ok(Sample::default()));
        let effort = Effort { rounds: 3, within: Duration::ZERO };
        assert!(contest.run(effort, Chance::new(1)).unwrap_err().to_string().contains("idle did nothing"));
        assert!(Spread::of(Vec::new()).is_err());
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(percentile(&values, 0.0), 1.0);
        assert_eq!(percentile(&values, 0.99), 99.0);
        assert_eq!(percentile(&values, 1.0), 100.0);
        assert_eq!(percentile(&[], 0.5), 0.0);
    }
}
