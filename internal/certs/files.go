package certs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"minikv/internal/errs"
)

// Files of a certificate folder. All are readable by their owner only.
const (
	CACertFile = "ca.crt"
	CAKeyFile  = "ca.key" // stays with the operator; nodes do not need it
	certSuffix = ".crt"
	keySuffix  = ".key"
)

// SaveCA writes ca.crt and ca.key into the folder, which it makes. Existing files are kept: errs.Conflict.
func SaveCA(dir string, ca *CA) error {
	return save("certs.SaveCA", dir, CACertFile, CAKeyFile, ca.Pair())
}

// LoadCA reads what SaveCA wrote.
func LoadCA(dir string) (*CA, error) {
	const op = "certs.LoadCA"
	var p Pair
	var err error
	if p.Cert, err = os.ReadFile(filepath.Join(dir, CACertFile)); err != nil {
		return nil, errs.WrapKind(op, errs.Invalid, err)
	}
	if p.Key, err = os.ReadFile(filepath.Join(dir, CAKeyFile)); err != nil {
		return nil, errs.WrapKind(op, errs.Invalid, err)
	}
	return ParseCA(p)
}

// SaveNode writes <node>.crt and <node>.key into the folder. Existing files are kept: errs.Conflict.
func SaveNode(dir, node string, p Pair) error {
	const op = "certs.SaveNode"
	if err := CheckNode(node); err != nil {
		return errs.Wrap(op, err)
	}
	if node+certSuffix == CACertFile {
		return errs.E(op, errs.Invalid, "%q is the name of the CA's files", node)
	}
	return save(op, dir, node+certSuffix, node+keySuffix, p)
}

// NodeFiles are the paths that SaveNode writes.
func NodeFiles(dir, node string) (cert, key string) {
	return filepath.Join(dir, node+certSuffix), filepath.Join(dir, node+keySuffix)
}

// save writes the key first, so that a certificate is never found without it.
func save(op, dir, certName, keyName string, p Pair) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return errs.Wrap(op, err)
	}
	if err := writeNew(filepath.Join(dir, keyName), p.Key); err != nil {
		return errs.WrapKind(op, kindOfWrite(err), err)
	}
	if err := writeNew(filepath.Join(dir, certName), p.Cert); err != nil {
		return errs.WrapKind(op, kindOfWrite(err), errors.Join(err, os.Remove(filepath.Join(dir, keyName))))
	}
	return nil
}

func kindOfWrite(err error) errs.Kind {
	if errors.Is(err, fs.ErrExist) {
		return errs.Conflict
	}
	return errs.Other
}

func writeNew(name string, b []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.Write(b); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		err = errors.Join(err, os.Remove(name))
	}
	return err
}
