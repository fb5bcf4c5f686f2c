package saf

// The canonical ABI of saf:channel@0.1.0, by hand: a generator's code lets the collector run inside cabi_realloc, where it reads
// the clock, which a component may not (it traps after some events). Go's pointers are 64 bits wide in memory and the
// component's 32, so a result is written field by field into one block.

import (
	"encoding/binary"
	"errors"
	"math"
	"time"
	"unsafe"
)

// Sizes and places of the contract's records, in bytes.
const (
	headerSize   = 16
	emissionSize = 48
	answerSize   = 24
	refusalSize  = 12
)

// What the router reads after a call has returned stays alive here until the next one.
var (
	result   []byte
	emitted  []Emission
	explains string
)

//go:wasmexport saf:channel/handler@0.1.0#init
func wasmInit(config, configLen uint32) uint32 {
	block := takeArena()
	err := start(block.bytes(config, configLen))
	newResult(refusalSize)
	if err != nil {
		explains = err.Error()
		result[0] = 1
		putText(4, explains)
	}
	return address(result)
}

//go:wasmexport saf:channel/handler@0.1.0#handle
func wasmHandle(id, idLen, subject, subjectLen uint32, milliseconds uint64, typed, kind, kindLen, headers, headersLen,
	data, dataLen uint32, sequence uint64, attempt uint32) uint32 {
	block := takeArena()
	event := Event{
		ID:       block.text(id, idLen),
		Subject:  block.text(subject, subjectLen),
		Time:     time.UnixMilli(int64(milliseconds)),
		Headers:  block.headers(headers, headersLen),
		Data:     block.bytes(data, dataLen),
		Sequence: sequence,
		Attempt:  attempt,
	}
	if typed != 0 {
		event.ContentType = block.text(kind, kindLen)
	}
	emissions, err := handler(event)
	if err != nil {
		fail(err)
	} else {
		emit(emissions)
	}
	return address(result)
}

func (b block) headers(at, count uint32) []Header {
	if count == 0 {
		return nil
	}
	headers := make([]Header, count)
	records := b.bytes(at, count*headerSize)
	for i := range headers {
		record := records[i*headerSize:]
		headers[i] = Header{
			Name:  b.text(binary.LittleEndian.Uint32(record), binary.LittleEndian.Uint32(record[4:])),
			Value: b.text(binary.LittleEndian.Uint32(record[8:]), binary.LittleEndian.Uint32(record[12:])),
		}
	}
	return headers
}

// fail writes a failure: a variant of retry and reject.
func fail(err error) {
	newResult(answerSize)
	result[0] = 1
	explains = err.Error()
	putText(8, explains)
	var rejected *RejectError
	if errors.As(err, &rejected) {
		result[4] = 1
		return
	}
	var retried *RetryError
	if errors.As(err, &retried) && retried.After > 0 {
		result[16] = 1
		put32(20, uint32(min(retried.After.Milliseconds(), math.MaxUint32)))
	}
}

// emit writes a list of emissions: the answer, the emissions, and their headers.
func emit(emissions []Emission) {
	size := answerSize + len(emissions)*emissionSize
	headersAt := size
	for i := range emissions {
		size += len(emissions[i].Headers) * headerSize
	}
	newResult(size)
	emitted = emissions
	if len(emissions) == 0 {
		return
	}
	put32(4, address(result[answerSize:]))
	put32(8, uint32(len(emissions)))
	for i := range emissions {
		e, at := &emissions[i], answerSize+i*emissionSize
		putText(at, e.Subject)
		putBytes(at+8, e.Data)
		putOptional(at+16, e.ContentType)
		putOptional(at+36, e.ID)
		if len(e.Headers) == 0 {
			continue
		}
		put32(at+28, address(result[headersAt:]))
		put32(at+32, uint32(len(e.Headers)))
		for _, h := range e.Headers {
			putText(headersAt, h.Name)
			putText(headersAt+8, h.Value)
			headersAt += headerSize
		}
	}
}

// newResult makes room for a result, all zero.
func newResult(size int) {
	emitted, explains = nil, ""
	if cap(result) < size || cap(result) > maxArenaBytes {
		result = make([]byte, size)
		return
	}
	result = result[:size]
	clear(result)
}

func put32(at int, v uint32) { binary.LittleEndian.PutUint32(result[at:], v) }

func putBytes(at int, b []byte) {
	if len(b) > 0 {
		put32(at, address(b))
		put32(at+4, uint32(len(b)))
	}
}

func putText(at int, s string) { putBytes(at, unsafe.Slice(unsafe.StringData(s), len(s))) }

func putOptional(at int, s string) {
	if s != "" {
		result[at] = 1
		putText(at+4, s)
	}
}

func address(b []byte) uint32 { return uint32(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) }
