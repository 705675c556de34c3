// Command rows-to-zerobus writes rows into the table main.iot.air_quality, and those that it rejects to a text file.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"reflect"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/typex"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/textio"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/transforms/xlang/python"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/x/beamx"
)

var (
	expansionService = flag.String("expansion_service", "localhost:8097", "address of Beam's expansion service")
	rejected          = flag.String("rejected", "rejected.txt", "file for rejected rows")
)

// Reading is a row of the table; a pointer is a column that may be null.
type Reading struct {
	Device *string `beam:"device"`
	CO2    *int32  `beam:"co2"`
}

// Settings are those options of beam_zerobus.yaml.WriteToZerobus that this pipeline sets.
type Settings struct {
	Table     string `beam:"table"`
	Schema    string `beam:"schema"`
	OnBadRows string `beam:"on_bad_rows"`
}

// Acknowledged is what the sink says of a batch that is durable.
type Acknowledged struct {
	Table     string  `beam:"table"`
	Rows      int64   `beam:"rows"`
	Bytes     int64   `beam:"bytes"`
	LatencyMs float64 `beam:"latency_ms"`
}

// FailedRow is a row that was rejected, and why. Beam makes a struct of what comes from Python, and Go takes one for the
// other only if the fields are the same in name and tag.
type FailedRow struct {
	Element    Reading `beam:"element"`
	Message    string  `beam:"message"`
	Error_type string  `beam:"error_type"`
	Stage      string  `beam:"stage"`
	Table      string  `beam:"table"`
	Attempts   int64   `beam:"attempts"`
	Timestamp  string  `beam:"timestamp"`
}

func init() {
	beam.RegisterType(reflect.TypeFor[Reading]())
	beam.RegisterType(reflect.TypeFor[Settings]())
	beam.RegisterType(reflect.TypeFor[Acknowledged]())
	beam.RegisterType(reflect.TypeFor[FailedRow]())
	beam.RegisterFunction(asLine)
}

func asLine(row FailedRow) string {
	return fmt.Sprintf("%d: %s: %s", *row.Element.CO2, row.Error_type, row.Message)
}

func writeToZerobus(scope beam.Scope, rows beam.PCollection, settings Settings) map[string]beam.PCollection {
	sink := python.NewExternalTransform[struct{}, Settings]("beam_zerobus.yaml.WriteToZerobus")
	sink.WithKwargs(settings)
	return beam.CrossLanguage(scope, "beam:transforms:python:fully_qualified_named", beam.CrossLanguagePayload(sink),
		*expansionService, beam.UnnamedInput(rows), map[string]beam.FullType{
			"acknowledged": typex.New(reflect.TypeFor[Acknowledged]()),
			"failed_rows":  typex.New(reflect.TypeFor[FailedRow]()),
		})
}

func pointer[T any](value T) *T { return &value }

func main() {
	flag.Parse()
	beam.Init()
	pipeline, scope := beam.NewPipelineWithRoot()
	readings := beam.Create(scope,
		Reading{Device: pointer("attic"), CO2: pointer(int32(417))},
		Reading{Device: pointer("cellar")},
		Reading{CO2: pointer(int32(655))})
	written := writeToZerobus(scope, readings, Settings{
		Table:     "main.iot.air_quality",
		Schema:    "device STRING NOT NULL, co2 INT",
		OnBadRows: "dead_letter",
	})
	textio.Write(scope, *rejected, beam.ParDo(scope, asLine, written["failed_rows"]))
	if err := beamx.Run(context.Background(), pipeline); err != nil {
		log.Fatal(err)
	}
}
