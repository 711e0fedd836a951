//! `--budget`: how long frames may take.

use std::str::FromStr;

use super::record::{Report, STAGES};
use crate::timing::Percentiles;

/// A latency that must not be exceeded.
#[derive(Debug, Clone, PartialEq)]
pub struct Budget {
    stage: String,
    percentile: String,
    most_ms: f64,
}

impl FromStr for Budget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape = || format!("{text:?} is not [STAGE.](p50|p95|p99|max)_ms=N");
        let (name, most) = text.split_once('=').ok_or_else(shape)?;
        let (stage, percentile) = name.split_once('.').unwrap_or(("total", name));
        let percentile = percentile.strip_suffix("_ms").ok_or_else(shape)?;
        let most_ms: f64 = most.parse().map_err(|_| shape())?;
        if !STAGES.contains(&stage) {
            return Err(format!("no stage {stage:?}; known are {}", STAGES.join(", ")));
        }
        if !["p50", "p95", "p99", "max"].contains(&percentile) || !most_ms.is_finite() {
            return Err(shape());
        }
        Ok(Self { stage: stage.to_owned(), percentile: percentile.to_owned(), most_ms })
    }
}

impl Budget {
    /// What is wrong, if it is exceeded.
    pub fn check(&self, report: &Report) -> Option<String> {
        let Percentiles { p50, p95, p99, max, .. } = *report.stages_ms.get(&self.stage)?;
        let actual = match self.percentile.as_str() {
            "p50" => p50,
            "p95" => p95,
            "p99" => p99,
            _ => max,
        };
        let Self { stage, percentile, most_ms } = self;
        (actual > *most_ms)
            .then(|| format!("{stage} {percentile} {actual:.2} ms, budget {most_ms} ms"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_parsed_and_checked() {
        let budget: Budget = "p95_ms=40".parse().unwrap();
        assert_eq!((budget.stage.as_str(), budget.most_ms), ("total", 40.0));
        let times = Percentiles { p50: 10.0, p95: 41.0, p99: 50.0, max: 60.0, count: 100 };
        let report =
            Report { stages_ms: [("total".to_owned(), times)].into(), ..Report::default() };
        assert_eq!(budget.check(&report).unwrap(), "total p95 41.00 ms, budget 40 ms");
        let wide: Budget = "total.max_ms=60".parse().unwrap();
        assert_eq!(wide.check(&report), None);
        let refused = |text: &str| text.parse::<Budget>().unwrap_err();
        assert!(refused("p95=3").contains("is not"));
        assert!(refused("sleep.p95_ms=3").contains("no stage"));
        assert!(refused("p42_ms=3").contains("is not"));
        assert!(refused("p95_ms=x").contains("is not"));
    }
}
