//! Finds out what became of writes that were not answered: by a probe where the sink has one, else by what it lists.

use super::outcome::{not_told, told};
use super::plan::{Plan, context};
use super::reconcile::reconcile;
use super::unit::{PassError, Unit, sink_capabilities};
use super::{OnSink, Row, Rules};
use crate::connector::{AttemptToken, Error, SinkCapabilities};
use crate::engine::decide::wanted;

/// Whether a sink can tell later what became of a write that it only took.
pub(super) fn can_tell(sink: &SinkCapabilities) -> bool {
    sink.probe || sink.inventory.is_some()
}

impl Plan {
    /// Asks after the writes whose time for it has come; answers whether there were any: then the plan is out of
    /// date. A sink that cannot be asked now is asked next time.
    pub(super) async fn confirm(&self, unit: &Unit<'_>, rules: &Rules) -> Result<bool, PassError> {
        let sink = sink_capabilities(unit)?;
        if self.schedule.probe.is_empty() || !can_tell(sink) {
            return Ok(false);
        }
        let asked = if sink.probe {
            self.probe(unit).await
        } else {
            reconcile(std::slice::from_ref(unit))
                .await
                .into_iter()
                .try_for_each(|listed| listed.map(drop))
        };
        match asked {
            Ok(()) => {}
            Err(PassError::Sink(error)) => {
                tracing::warn!(
                    sync = unit.sync.name,
                    calendar = unit.handle,
                    code = error.code,
                    error = %error,
                    "The sink could not be asked what became of earlier writes; it is asked again."
                );
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
        self.count_untold(unit, rules, sink).await?;
        Ok(true)
    }

    /// The planned rows that are to be asked after.
    fn asked(&self) -> impl Iterator<Item = (usize, &Row)> {
        self.rows
            .iter()
            .enumerate()
            .filter(|(_, row)| self.schedule.probe.contains(&row.link))
    }

    async fn probe(&self, unit: &Unit<'_>) -> Result<(), PassError> {
        let Some(sink) = unit.sink.connection().sink() else {
            return Err(PassError::Sink(Error::unsupported("probes")));
        };
        let (rows, tokens): (Vec<&Row>, Vec<AttemptToken>) = self
            .asked()
            .filter_map(|(_, row)| Some((row, row.attempt.as_ref()?.token.clone())))
            .unzip();
        let permit = unit
            .sink
            .writes
            .enter(unit.clock.now())
            .await
            .map_err(PassError::Sink)?;
        let answers = sink.probe(&unit.reference, &tokens).await;
        drop(permit);
        let now = unit.clock.now();
        unit.sink.writes.report(answers.as_ref().err(), now);
        let mut commit = self.commit(unit);
        commit.update = rows
            .into_iter()
            .zip(&answers.map_err(PassError::Sink)?)
            .map(|(row, probe)| told(row.clone(), probe, now))
            .collect();
        unit.store.commit_rows(unit.fence, commit).await?;
        Ok(())
    }

    /// Nobody is asked for ever: what could not be told counts as a try.
    async fn count_untold(
        &self,
        unit: &Unit<'_>,
        rules: &Rules,
        sink: &SinkCapabilities,
    ) -> Result<(), PassError> {
        let context = context(&self.prints, rules, &self.basis, sink, unit.clock.now());
        let found = unit
            .store
            .rows(&unit.sync.name, unit.source.name(), unit.calendar)
            .await?;
        let mut commit = self.commit(unit);
        for (position, asked) in self.asked() {
            let now = found.rows.iter().find(|row| row.link == asked.link);
            let (Some(row), Some(desired)) = (now, self.desired.get(position)) else {
                continue;
            };
            if row.sink.state != OnSink::Unknown {
                continue;
            }
            let row = not_told(row.clone(), wanted(desired, &context), &context);
            if let Some(dead) = &row.dead {
                tracing::warn!(
                    sync = unit.sync.name,
                    calendar = unit.handle,
                    link = row.link.0,
                    code = dead.code,
                    "Nobody can tell what became of a write; it is kept as a dead letter until something changes."
                );
            }
            commit.update.push(row);
        }
        if !commit.update.is_empty() {
            unit.store.commit_rows(unit.fence, commit).await?;
        }
        Ok(())
    }
}
