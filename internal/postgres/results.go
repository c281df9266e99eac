package postgres

import (
	"fmt"
	"io"

	"github.com/jackc/pgx/v5/pgconn"
)

// ErrHalf means that an answer is not one to the question: what speaks there is not
// PostgreSQL, or something in between garbles it.
var ErrHalf = fmt.Errorf("half an answer: %w", io.ErrUnexpectedEOF)

// Last returns that many of the last results.
func Last(results []*pgconn.Result, count int) ([]*pgconn.Result, error) {
	if len(results) < count {
		return nil, ErrHalf
	}
	return results[len(results)-count:], nil
}

// Rows returns the rows of a result, which have that many columns, or an error that is
// worth another attempt.
func Rows(result *pgconn.Result, columns int) ([][][]byte, error) {
	for _, row := range result.Rows {
		if len(row) != columns {
			return nil, ErrHalf
		}
	}
	return result.Rows, nil
}

// Row returns the first row of a result, which is to have one.
func Row(result *pgconn.Result, columns int) ([][]byte, error) {
	rows, err := Rows(result, columns)
	if err == nil && len(rows) == 0 {
		err = ErrHalf
	}
	if err != nil {
		return nil, err
	}
	return rows[0], nil
}
