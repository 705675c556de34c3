//! Sends RecordBatches to tables through a gateway, from several tasks, and prints a line for each table.
//!
//! gateway-client LOCATION ROWS ROWS_IN_A_BATCH TASKS TABLE...
use std::{collections::VecDeque, env, sync::Arc, time::Duration};

use arrow_array::{Int64Array, RecordBatch, StringArray};
use arrow_flight::{encode::FlightDataEncoderBuilder, FlightClient, FlightDescriptor};
use futures::{stream, StreamExt, TryStreamExt};
use serde_json::{json, Value};
use tokio::task::JoinSet;
use tonic::transport::Channel;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn batch(first: i64, rows: i64) -> RecordBatch {
    let ids = Int64Array::from_iter_values(first..first + rows);
    let devices = StringArray::from_iter_values((0..rows).map(|i| format!("device-{}", i % 100)));
    RecordBatch::try_from_iter([("id", Arc::new(ids) as _), ("device", Arc::new(devices) as _)]).unwrap()
}

/// Send the batches in one call, take those with a result out of `waiting`, and return the rows that are written.
async fn call(location: &str, table: &str, waiting: &mut VecDeque<(i64, i64)>) -> (i64, Result<(), Failure>) {
    let mut written = 0;
    let outcome = async {
        let channel = Channel::from_shared(location.to_owned())?.connect().await?;
        let batches: Vec<_> = waiting.iter().copied().collect();
        let data = FlightDataEncoderBuilder::new()
            .with_flight_descriptor(Some(FlightDescriptor::new_path(vec![table.to_owned()])))
            .with_max_flight_data_size(usize::MAX) // one message, and so one result, for each batch
            .build(stream::iter(batches).map(|(first, rows)| Ok(batch(first, rows))));
        let mut results = FlightClient::new(channel).do_put(data).await?;
        while let Some(result) = results.try_next().await? {
            let outcome: Value = serde_json::from_slice(&result.app_metadata)?;
            let Some(rows) = outcome["written"].as_i64() else {
                let text = |name: &str| outcome[name].as_str().unwrap_or_default().to_owned();
                return Err(format!("{}: {}", text("status"), text("error")).into());
            };
            written += rows;
            waiting.pop_front();
        }
        Ok(())
    }
    .await;
    (written, outcome)
}

/// Send the batches of a task; those without a result again after a failure that may pass, ten times without progress.
async fn task(location: String, table: String, mut waiting: VecDeque<(i64, i64)>) -> (i64, Vec<String>) {
    let (mut written, mut failures, mut in_vain) = (0, Vec::new(), 0);
    while !waiting.is_empty() && in_vain < 10 {
        let (rows, outcome) = call(&location, &table, &mut waiting).await;
        written += rows;
        if let Err(failure) = outcome {
            let text = failure.to_string();
            let lasts = text.starts_with("NOT_FOUND") || text.starts_with("INVALID_ARGUMENT");
            failures.push(text);
            if lasts {
                break;
            }
            in_vain = if rows > 0 { 0 } else { in_vain + 1 };
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
    (written, failures)
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let given: Vec<String> = env::args().skip(1).collect();
    let location = given[0].replace("grpc://", "http://");
    let (rows, size, tasks): (i64, usize, usize) = (given[1].parse()?, given[2].parse()?, given[3].parse()?);
    let batches: Vec<_> = (0..rows).step_by(size).map(|first| (first, (rows - first).min(size as i64))).collect();
    for table in &given[4..] {
        let mut running = JoinSet::new();
        for n in 0..tasks {
            let own = batches.iter().copied().skip(n).step_by(tasks).collect();
            running.spawn(task(location.clone(), table.clone(), own));
        }
        let done = running.join_all().await;
        let written: i64 = done.iter().map(|(rows, _)| rows).sum();
        let failures: Vec<&String> = done.iter().flat_map(|(_, failures)| failures).collect();
        println!("{}", json!({"table": table, "written": written, "failures": failures}));
    }
    Ok(())
}
