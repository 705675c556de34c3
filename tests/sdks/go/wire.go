package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// Messages of the published contract are written and read field by field, so that no code has to be generated:
// EphemeralStreamRequest has create_stream = 1, ingest_record = 2 and ingest_record_batch = 3, and
// EphemeralStreamResponse create_stream_response = 1, ingest_record_response = 2 and close_stream_signal = 3.
const (
	recordTypeProto = 1
	recordTypeJSON  = 2
)

func createMessage(table, format string, descriptor []byte) []byte {
	create := bytesField(nil, 1, []byte(table))
	if descriptor != nil {
		create = bytesField(create, 3, descriptor)
	}
	recordType := uint64(recordTypeJSON)
	if format == "proto" {
		recordType = recordTypeProto
	}
	create = protowire.AppendVarint(protowire.AppendTag(create, 4, protowire.VarintType), recordType)
	return bytesField(nil, 1, create)
}

// callMessage is ingest_record for a single record, and ingest_record_batch for several.
func callMessage(offset int64, format string, records [][]byte) []byte {
	call := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(offset))
	kind := protowire.Number(3) // JSON
	if format == "proto" {
		kind = 2
	}
	if len(records) == 1 {
		return bytesField(nil, 2, bytesField(call, kind, records[0]))
	}
	var batch []byte
	for _, record := range records {
		batch = bytesField(batch, 1, record)
	}
	return bytesField(nil, 3, bytesField(call, kind, batch))
}

func bytesField(message []byte, number protowire.Number, value []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(message, number, protowire.BytesType), value)
}

// firstField returns the number and the content of a response's only field; 0 if it cannot be read.
func firstField(message []byte) (protowire.Number, []byte) {
	number, kind, length := protowire.ConsumeTag(message)
	if length < 0 || kind != protowire.BytesType {
		return 0, nil
	}
	body, length := protowire.ConsumeBytes(message[length:])
	if length < 0 {
		return 0, nil
	}
	return number, body
}

// acknowledgedOffset reads durability_ack_up_to_offset = 1 of an IngestRecordResponse; a zero may be left out.
func acknowledgedOffset(body []byte) int64 {
	_, _, length := protowire.ConsumeTag(body)
	if length < 0 {
		return 0
	}
	offset, _ := protowire.ConsumeVarint(body[length:])
	return int64(offset)
}

// bytesCodec passes messages through gRPC as they are.
type bytesCodec struct{}

func (bytesCodec) Name() string { return "proto" }

func (bytesCodec) Marshal(message any) ([]byte, error) { return message.([]byte), nil }

func (bytesCodec) Unmarshal(data []byte, message any) error {
	*message.(*[]byte) = append([]byte(nil), data...)
	return nil
}

// httpError is an answer of the token endpoint other than 200.
type httpError struct {
	status int
	body   string
}

func (e *httpError) Error() string {
	return fmt.Sprintf("token endpoint: HTTP %d: %s", e.status, e.body)
}

// fetchToken asks the workspace for a token that may write to the stream's table.
func fetchToken(ctx context.Context, s *stream) (string, error) {
	parts := strings.Split(s.table, ".")
	privilege := func(kind, path string, privileges ...string) map[string]any {
		return map[string]any{"type": "unity_catalog_privileges", "object_type": kind, "object_full_path": path,
			"privileges": privileges}
	}
	details, err := json.Marshal([]any{
		privilege("CATALOG", parts[0], "USE CATALOG"),
		privilege("SCHEMA", strings.Join(parts[:len(parts)-1], "."), "USE SCHEMA"),
		privilege("TABLE", s.table, "SELECT", "MODIFY"),
	})
	if err != nil {
		return "", err
	}
	host := s.endpoint[strings.LastIndex(s.endpoint, "/")+1:]
	workspaceID, _, _ := strings.Cut(host, ".")
	form := url.Values{
		"grant_type":            {"client_credentials"},
		"scope":                 {"all-apis"},
		"resource":              {"api://databricks/workspaces/" + workspaceID + "/zerobusDirectWriteApi"},
		"authorization_details": {string(details)},
	}
	address := s.workspace + "/oidc/v1/token"
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	request.SetBasicAuth(s.clientID, s.secret)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return "", err
	}
	if response.StatusCode != http.StatusOK {
		return "", &httpError{status: response.StatusCode, body: string(body)}
	}
	var answer struct {
		Token string `json:"access_token"`
	}
	err = json.Unmarshal(body, &answer)
	return answer.Token, err
}
