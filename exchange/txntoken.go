package exchange

import (
	"context"
	"time"
)

// txnSubject is a verified transaction token of ours, to be replaced (TT5).
type txnSubject struct{}

// txnSubject verifies a subject_token that is a transaction token of ours.
func (s *Service) txnSubject(_ context.Context, _ caller, _ string, _ time.Time) (Subject, error) {
	return Subject{}, invalid("subject_token_type", "subject_token_type is not supported")
}

// replaceTxn decides on the replacement of a transaction token: never a wider one (TT5).
func (f *Facts) replaceTxn() (Approval, error) {
	return Approval{}, invalid("subject_token_type", "subject_token_type is not supported")
}
