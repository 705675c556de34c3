//! Sends RecordBatches to a gateway from several tasks, and prints what was confirmed.
//!
//! gateway-client LOCATION TABLE ROWS ROWS_IN_A_BATCH TASKS
use std::{collections::VecDeque, env, sync::Arc, time::Duration};

use arrow_array::{Int64Array, RecordBatch, StringArray};
use arrow_flight::{encode::FlightDataEncoderBuilder, FlightClient, FlightDescriptor};
use futures::{stream, StreamExt, TryStreamExt};
use serde_json::{json, Value};
use tonic::transport::Channel;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn batch(first: i64, rows: i64) -> RecordBatch {
    let ids = Int64Array::from_iter_values(first..first + rows);
    let devices = StringArray::from_iter_values((0..rows).map(|i| format!("device-{}", i % 100)));
    RecordBatch::try_from_iter([("id", Arc::new(ids) as _), ("device", Arc::new(devices) as _)]).unwrap()
}

/// Send batches in one call; take those with a result out of `waiting`, and return the rows that are written.
async fn call(location: &str, table: &str, waiting: &mut VecDeque<(i64, i64)>) -> Result<i64, (i64, Failure)> {
    let mut written = 0;
    let result: Result<(), Failure> = async {
        let channel = Channel::from_shared(location.to_owned())?.connect().await?;
        let batches: Vec<_> = waiting.iter().map(|(first, rows)| Ok(batch(*first, *rows))).collect();
        let data = FlightDataEncoderBuilder::new()
            .with_flight_descriptor(Some(FlightDescriptor::new_path(vec![table.to_owned()])))
            .with_max_flight_data_size(usize::MAX) // one message, and so one result, for each batch
            .build(stream::iter(batches));
        let mut results = FlightClient::new(channel).do_put(data).await?;
        while let Some(result) = results.try_next().await? {
            let outcome: Value = serde_json::from_slice(&result.app_metadata)?;
            match outcome["written"].as_i64() {
                Some(rows) => {
                    written += rows;
                    waiting.pop_front();
                }
                None => return Err(format!("{}: {}", outcome["status"], outcome["error"]).into()),
            }
        }
        Ok(())
    }
    .await;
    result.map(|()| written).map_err(|failure| (written, failure))
}

/// Send all batches of a task, again after a failure, until each has a result or ten calls in a row confirm nothing.
async fn task(location: String, table: String, mut waiting: VecDeque<(i64, i64)>) -> (i64, Vec<String>) {
    let (mut written, mut failures, mut in_vain) = (0, Vec::new(), 0);
    while !waiting.is_empty() && in_vain < 10 {
        match call(&location, &table, &mut waiting).await {
            Ok(rows) => written += rows,
            Err((rows, failure)) => {
                written += rows;
                failures.push(failure.to_string());
                in_vain = if rows > 0 { 0 } else { in_vain + 1 };
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
    }
    (written, failures)
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let given: Vec<String> = env::args().skip(1).collect();
    let (location, table) = (given[0].replace("grpc://", "http://"), given[1].clone());
    let (rows, size, tasks): (i64, i64, i64) = (given[2].parse()?, given[3].parse()?, given[4].parse()?);
    let batches: Vec<(i64, i64)> = (0..rows).step_by(size as usize).map(|n| (n, size.min(rows - n))).collect();
    let running = (0..tasks).map(|n| {
        let own = batches.iter().copied().skip(n as usize).step_by(tasks as usize).collect();
        tokio::spawn(task(location.clone(), table.clone(), own))
    });
    let done: Vec<(i64, Vec<String>)> = stream::iter(running).buffered(tasks as usize).try_collect().await?;
    let written: i64 = done.iter().map(|(rows, _)| rows).sum();
    let failures: Vec<&String> = done.iter().flat_map(|(_, failures)| failures).collect();
    println!("{}", json!({"written": written, "failures": failures}));
    Ok(())
}
