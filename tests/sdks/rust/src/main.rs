//! The Rust client's program of `make test-sdks`; see tests/sdks/program.py for its commands.

use std::error::Error;
use std::io::BufRead;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema};
use databricks_zerobus_ingest_sdk::schema::{arrow_schema_from_uc_schema, descriptor_from_uc_schema};
use databricks_zerobus_ingest_sdk::{
    JsonString, ProtoBytes, ZerobusArrowStream, ZerobusError, ZerobusSdk, ZerobusStream,
};
use prost::Message;
use prost_types::DescriptorProto;

enum Stream {
    Proto(ZerobusStream),
    Json(ZerobusStream),
    Arrow(ZerobusArrowStream),
}

type Outcome = Result<Option<i64>, Box<dyn Error>>;

#[tokio::main]
async fn main() {
    let mut stream = None;
    println!("ok");
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("a line");
        let words: Vec<&str> = line.split(' ').collect();
        match run(&mut stream, &words).await {
            Ok(None) => println!("ok"),
            Ok(Some(offset)) => println!("ok {offset}"),
            Err(error) => {
                let kind = match error.downcast_ref::<ZerobusError>() {
                    Some(known) if known.is_retryable() => "retriable",
                    Some(_) => "final",
                    None => "unknown",
                };
                let message = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
                println!("error {kind} {message}");
            }
        }
    }
}

async fn run(stream: &mut Option<Stream>, words: &[&str]) -> Outcome {
    if words[0] == "open" {
        *stream = None;
        *stream = Some(open(&words[1..]).await?);
        return Ok(None);
    }
    let open = stream.as_mut().ok_or("no stream is open")?;
    match (words[0], open) {
        ("send", open) => return send(open, &words[1..]).await,
        ("wait", Stream::Arrow(open)) => open.wait_for_offset(words[1].parse()?).await?,
        ("wait", Stream::Proto(open) | Stream::Json(open)) => open.wait_for_offset(words[1].parse()?).await?,
        ("flush", Stream::Arrow(open)) => open.flush().await?,
        ("flush", Stream::Proto(open) | Stream::Json(open)) => open.flush().await?,
        ("close", Stream::Arrow(open)) => open.close().await?,
        ("close", Stream::Proto(open) | Stream::Json(open)) => open.close().await?,
        (other, _) => return Err(format!("unknown command {other}").into()),
    }
    Ok(None)
}

async fn open(words: &[&str]) -> Result<Stream, Box<dyn Error>> {
    let &[endpoint, workspace, format, table, client_id, secret, patience, schema] = words else {
        return Err("open needs eight words".into());
    };
    let sdk = ZerobusSdk::builder().endpoint(endpoint).unity_catalog_url(workspace).build()?;
    let builder = sdk
        .stream_builder()
        .table(table)
        .oauth(client_id, secret)
        .recovery_backoff_ms(200)
        .recovery_retries(600)
        .flush_timeout_ms(40_000)
        .server_lack_of_ack_timeout_ms(patience.parse()?);
    Ok(match format {
        "arrow" => Stream::Arrow(builder.arrow(arrow_schema(schema)?).build_arrow().await?),
        "proto" => Stream::Proto(builder.compiled_proto(descriptor(schema)?).build().await?),
        _ => Stream::Json(builder.json().build().await?),
    })
}

async fn send(stream: &mut Stream, words: &[&str]) -> Outcome {
    let mut records = words.iter().map(|word| unhex(word)).collect::<Result<Vec<_>, _>>()?;
    Ok(match stream {
        Stream::Arrow(open) => Some(open.ingest_ipc_batch(records.remove(0).into()).await?),
        Stream::Proto(open) if records.len() == 1 => {
            Some(open.ingest_record_offset(ProtoBytes(records.remove(0))).await?)
        }
        Stream::Proto(open) => open.ingest_records_offset(records.into_iter().map(ProtoBytes)).await?,
        Stream::Json(open) => {
            let mut texts = records.into_iter().map(String::from_utf8).collect::<Result<Vec<_>, _>>()?;
            if texts.len() == 1 {
                Some(open.ingest_record_offset(JsonString(texts.remove(0))).await?)
            } else {
                open.ingest_records_offset(texts.into_iter().map(JsonString)).await?
            }
        }
    })
}

fn descriptor(text: &str) -> Result<DescriptorProto, Box<dyn Error>> {
    Ok(match text.strip_prefix("columns:") {
        Some(table) => descriptor_from_uc_schema(&serde_json::from_slice(&unhex(table)?)?)?,
        None => DescriptorProto::decode(&unhex(text)?[..])?,
    })
}

fn arrow_schema(text: &str) -> Result<Arc<Schema>, Box<dyn Error>> {
    if let Some(table) = text.strip_prefix("columns:") {
        return Ok(Arc::new(arrow_schema_from_uc_schema(&serde_json::from_slice(&unhex(table)?)?)?));
    }
    let mut fields = Vec::new();
    for field in text.split(',') {
        let [name, kind, nullable] = field.split(':').collect::<Vec<_>>()[..] else {
            return Err("a field is name:type:null or name:type:required".into());
        };
        let data_type = match kind {
            "int64" => DataType::Int64,
            "int32" => DataType::Int32,
            _ => DataType::LargeUtf8,
        };
        fields.push(Field::new(name, data_type, nullable == "null"));
    }
    Ok(Arc::new(Schema::new(fields)))
}

fn unhex(text: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?)).collect()
}
