// Sends RecordBatches to tables through a gateway, and prints a line for each table.
//
//	gateway-client LOCATION ROWS ROWS_IN_A_BATCH TABLE...
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"os"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

var schema = arrow.NewSchema([]arrow.Field{
	{Name: "id", Type: arrow.PrimitiveTypes.Int64}, {Name: "device", Type: arrow.BinaryTypes.String},
}, nil)

func batch(first, rows int64) arrow.RecordBatch {
	builder := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer builder.Release()
	for id := first; id < first+rows; id++ {
		builder.Field(0).(*array.Int64Builder).Append(id)
		builder.Field(1).(*array.StringBuilder).Append("device")
	}
	return builder.NewRecordBatch()
}

// write sends the rows in one call, and returns how many are in the table.
func write(client flight.Client, table string, rows, size int64) (written int64, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	call, err := client.DoPut(ctx)
	if err != nil {
		return 0, err
	}
	go func() {
		writer := flight.NewRecordWriter(call, ipc.WithSchema(schema))
		writer.SetFlightDescriptor(&flight.FlightDescriptor{Type: flight.DescriptorPATH, Path: []string{table}})
		for first := int64(0); first < rows; first += size {
			if writer.Write(batch(first, min(size, rows-first))) != nil {
				break // the reason arrives below
			}
		}
		writer.Close()
		call.CloseSend()
	}()
	for {
		result, err := call.Recv()
		if err == io.EOF {
			return written, nil
		} else if err != nil {
			return written, err
		}
		var outcome struct {
			Written       int64
			Status, Error string
		}
		if err := json.Unmarshal(result.AppMetadata, &outcome); err != nil {
			return written, err
		} else if outcome.Status != "" {
			return written, fmt.Errorf("%s: %s", outcome.Status, outcome.Error)
		}
		written += outcome.Written
	}
}

func number(text string) int64 {
	value, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func main() {
	address := strings.TrimPrefix(os.Args[1], "grpc://")
	plain := grpc.WithTransportCredentials(insecure.NewCredentials())
	client, err := flight.NewClientWithMiddleware(address, nil, nil, plain)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	for _, table := range os.Args[4:] {
		failures := []string{}
		written, err := write(client, table, number(os.Args[2]), number(os.Args[3]))
		if err != nil {
			failures = append(failures, err.Error())
		}
		json.NewEncoder(os.Stdout).Encode(map[string]any{"table": table, "written": written, "failures": failures})
	}
}
