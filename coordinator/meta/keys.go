package meta

import (
	"encoding/binary"

	"minikv/internal/errs"
)

// The tables. A key is the table's byte, then what is drawn here; numbers are big endian, so that byte order is their order.
//
//	names: begin with the bucket's id
//	 b | name                                        BucketRow     a bucket by its name
//	 o | bucket id (8) | key                         ObjectRow     current objects, in the order of listings
//	 v | bucket id (8) | key, escaped | ^version (12) ObjectRow    other versions, newest first
//	 u | bucket id (8) | key, escaped | upload id (16) UploadRow   open uploads, by key and then initiation
//	 c | bucket id (8) | name                        (reserved)    configuration of a bucket
//
//	all else: begins with its own id, since copies outlive buckets
//	 y | body id (16)                                BodyRow
//	 p | body id (16) | part number (4)              PartRow
//	 r | run base (16)                               RunRow
//	 q | commit index (8) | number in entry (4)      QueueRow      first in, first out
//	 m | blob id (16) | volume (4)                   MissingRow
//	 M | pool (4) | shard (4) | volume (4)           MissingCountRow  how many of them
//	 d | upload id (16)                              CompletedRow
//	 e | completed, ms (8) | upload id (16)          -             completed uploads by time
//
//	cluster
//	 C |                                             ClusterRow
//	 P | pool (4)                                    PoolRow
//	 V | volume (4)                                  VolumeRow
//	 S | pool (4) | shard (4)                        ShardRow
//	 B |                                             RebalanceRow
//	 s | session id (16)                             SessionRow
//	 R | session id (16) | sequence (8)              Result
//	 t |                                             StatsAnswer   counters
//
// Byte 0 is kv.LocalByte: rows of the replica's own.
const (
	tableBuckets  = 'b'
	tableObjects  = 'o'
	tableVersions = 'v'
	tableUploads  = 'u'
	tableConfig   = 'c'
	tableBodies   = 'y'
	tableParts    = 'p'
	tableRuns     = 'r'
	tableQueue    = 'q'
	tableMissing  = 'm'
	// counts of missing rows
	tableMissingCounts = 'M'
	tableRebalance     = 'B'
	tableCompleted     = 'd'
	tableExpiry        = 'e'
	tableCluster       = 'C'
	tablePools         = 'P'
	tableVolumes       = 'V'
	tableShards        = 'S'
	tableSessions      = 's'
	tableResults       = 'R'
	tableStats         = 't'
)

// Lengths of ids in keys, in bytes.
const (
	bucketIDLen = 8
	idLen       = 16 // bodies, uploads, runs, sessions, blobs
	versionLen  = 12
	queueKeyLen = 12
	numberLen   = 4
)

// Escaped keys end where the next part of a row's key begins, and sort like the keys themselves: a zero byte is written 00 FF,
// the end 00 01, which sorts before every continuation.
const (
	escape     = 0x00
	escapeZero = 0xFF
	escapeEnd  = 0x01
)

func appendEscapedOpen(dst []byte, key string) []byte {
	for i := 0; i < len(key); i++ {
		dst = append(dst, key[i])
		if key[i] == escape {
			dst = append(dst, escapeZero)
		}
	}
	return dst
}

func appendEscaped(dst []byte, key string) []byte {
	return append(appendEscapedOpen(dst, key), escape, escapeEnd)
}

// cutEscaped splits what follows an escaped key from it.
func cutEscaped(b []byte) (key string, rest []byte, err error) {
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] != escape {
			out = append(out, b[i])
			continue
		}
		if i++; i == len(b) {
			break
		}
		switch b[i] {
		case escapeEnd:
			return string(out), b[i+1:], nil
		case escapeZero:
			out = append(out, escape)
		default:
			return "", nil, errs.E("meta.cutEscaped", errs.Corrupt, "an escaped key holds 00 %02X", b[i])
		}
	}
	return "", nil, errs.E("meta.cutEscaped", errs.Corrupt, "an escaped key has no end")
}

func tableKey(table byte, parts ...[]byte) []byte {
	n := 1
	for _, p := range parts {
		n += len(p)
	}
	k := append(make([]byte, 0, n), table)
	for _, p := range parts {
		k = append(k, p...)
	}
	return k
}

func named(table byte, id []byte, key string) []byte {
	k := make([]byte, 0, 1+len(id)+len(key)+2+idLen)
	return append(append(append(k, table), id...), key...)
}

func bucketKey(name string) []byte             { return named(tableBuckets, nil, name) }
func objectKey(bucket []byte, k string) []byte { return named(tableObjects, bucket, k) }
func bodyKey(id []byte) []byte                 { return tableKey(tableBodies, id) }
func runKey(base []byte) []byte                { return tableKey(tableRuns, base) }
func queueKey(key []byte) []byte               { return tableKey(tableQueue, key) }
func completedKey(id []byte) []byte            { return tableKey(tableCompleted, id) }
func sessionKey(id []byte) []byte              { return tableKey(tableSessions, id) }
func poolKey(pool uint32) []byte               { return appendNumber([]byte{tablePools}, pool) }
func volumeKey(n uint32) []byte                { return appendNumber([]byte{tableVolumes}, n) }
func appendNumber(dst []byte, n uint32) []byte { return binary.BigEndian.AppendUint32(dst, n) }
func partKey(body []byte, n uint32) []byte     { return appendNumber(tableKey(tableParts, body), n) }
func missingKey(blob []byte, v uint32) []byte  { return appendNumber(tableKey(tableMissing, blob), v) }

func shardKey(pool, shard uint32) []byte {
	return appendNumber(appendNumber([]byte{tableShards}, pool), shard)
}

func resultKey(session []byte, sequence uint64) []byte {
	k := append(make([]byte, 0, 1+idLen+8), tableResults)
	return binary.BigEndian.AppendUint64(append(k, session...), sequence)
}

func expiryKey(ms int64, upload []byte) []byte {
	k := binary.BigEndian.AppendUint64([]byte{tableExpiry}, uint64(ms))
	return append(k, upload...)
}

func versionKey(bucket []byte, key string, version []byte) []byte {
	k := appendEscaped(tableKey(tableVersions, bucket), key)
	for _, c := range version {
		k = append(k, ^c)
	}
	return k
}

func uploadKey(bucket []byte, key string, upload []byte) []byte {
	return append(appendEscaped(tableKey(tableUploads, bucket), key), upload...)
}

func queuePosition(index uint64, n uint32) []byte {
	return appendNumber(binary.BigEndian.AppendUint64(make([]byte, 0, queueKeyLen), index), n)
}

var (
	clusterKey = []byte{tableCluster}
	statsKey   = []byte{tableStats}

	rebalanceKey = []byte{tableRebalance}
)

// prefixEnd is the first key after all that begin with p; nil when there is none.
func prefixEnd(p []byte) []byte {
	for i := len(p) - 1; i >= 0; i-- {
		if p[i] != 0xFF {
			end := append([]byte(nil), p[:i+1]...)
			end[i]++
			return end
		}
	}
	return nil
}

// stamp is the version of what operation op of command cmd of the entry at index made. Later ones are greater.
//
//	0              8          10         12
//	| commit index | command  | operation |
func stamp(index uint64, cmd, op uint16) []byte {
	v := binary.BigEndian.AppendUint64(make([]byte, 0, idLen), index)
	v = binary.BigEndian.AppendUint16(v, cmd)
	return binary.BigEndian.AppendUint16(v, op)
}
