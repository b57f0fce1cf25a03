package s3

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/sluicemq/sluice/storage/bucket"
)

const (
	// partsInFlight is how many parts of one body are sent at a time: four fill a 10 Gbit/s link
	// from one of our machines.
	partsInFlight = 4
	// partCountMax is S3's limit.
	partCountMax = 10_000
)

// createInParts uploads a large body: it begins an upload, sends the parts and completes the
// upload. The object appears with the last step. Where the store supports that, the last step has
// the condition that the key is free.
//
// Until the last step has been sent nothing is in doubt, and a failed upload is aborted. Afterwards
// the upload is left alone: this package cannot tell whether the step took effect, and a lifecycle
// rule removes abandoned parts.
func (b *Bucket) createInParts(ctx context.Context, key string, body bucket.Body) error {
	// The body is verified first, because each part gets a checksum of the bytes as they are now.
	if err := body.Verify(); err != nil {
		return err
	}
	if parts := (body.Size() + b.cfg.PartBytes - 1) / b.cfg.PartBytes; parts > partCountMax {
		return fmt.Errorf("%w: %d bytes are more than %d parts of %d bytes", bucket.ErrDenied, body.Size(), partCountMax, b.cfg.PartBytes)
	}
	u := &upload{b: b, key: b.key(key), body: body}
	if err := u.begin(ctx); err != nil {
		return err
	}
	parts, err := u.sendParts(ctx)
	if err == nil {
		err = u.complete(ctx, parts)
	}
	if err != nil && !errors.Is(err, bucket.ErrUnknown) {
		if aerr := u.abort(ctx); aerr != nil {
			return fmt.Errorf("%w (and its parts stay until the store's lifecycle rule removes them: %v)", err, aerr)
		}
	}
	return err
}

// upload is one multipart upload.
type upload struct {
	b    *Bucket
	key  *string
	body bucket.Body
	id   *string
}

func (u *upload) begin(ctx context.Context) error {
	ctx, cancel := u.b.deadline(ctx, 0)
	defer cancel()
	ctx, sent := watchSending(ctx)
	out, err := u.b.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
		Bucket:            &u.b.cfg.Bucket,
		Key:               u.key,
		ChecksumAlgorithm: types.ChecksumAlgorithmCrc32c,
		ChecksumType:      types.ChecksumTypeFullObject,
	})
	if err != nil {
		return classify(ctx, partOp, err, sent)
	}
	u.id = out.UploadId
	return nil
}

// sendParts returns when all parts are stored, or when one has failed and none is being sent any
// more.
func (u *upload) sendParts(ctx context.Context) ([]types.CompletedPart, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	count := int((u.body.Size() + u.b.cfg.PartBytes - 1) / u.b.cfg.PartBytes)
	parts := make([]types.CompletedPart, count)
	errs := make([]error, count)
	slots := make(chan struct{}, partsInFlight)
	var sending sync.WaitGroup
	for i := range parts {
		slots <- struct{}{}
		sending.Go(func() {
			defer func() { <-slots }()
			if parts[i], errs[i] = u.sendPart(ctx, i); errs[i] != nil {
				stop(errs[i])
			}
		})
	}
	sending.Wait()
	return parts, first(ctx, errs)
}

// first returns the error that made the others stop.
func first(ctx context.Context, errs []error) error {
	for _, err := range errs {
		if err != nil && context.Cause(ctx) == err {
			return err
		}
	}
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (u *upload) sendPart(ctx context.Context, i int) (types.CompletedPart, error) {
	if err := bucket.ContextError(ctx); err != nil {
		return types.CompletedPart{}, err
	}
	pos := int64(i) * u.b.cfg.PartBytes
	body := u.body.Slice(pos, min(u.b.cfg.PartBytes, u.body.Size()-pos))
	ctx, cancel := u.b.deadline(ctx, body.Size())
	defer cancel()
	ctx, sent := watchSending(ctx)
	ctx, reader := withBody(ctx, body)
	defer reader.Release()
	part := types.CompletedPart{
		PartNumber:     aws.Int32(int32(i) + 1),
		ChecksumCRC32C: aws.String(checksum(body.CRC32C)),
	}
	out, err := u.b.client.UploadPart(ctx, &s3.UploadPartInput{
		Bucket:         &u.b.cfg.Bucket,
		Key:            u.key,
		UploadId:       u.id,
		PartNumber:     part.PartNumber,
		Body:           reader,
		ContentLength:  aws.Int64(body.Size()),
		ChecksumCRC32C: part.ChecksumCRC32C,
	}, unsigned)
	if err != nil {
		return part, fmt.Errorf("part %d: %w", i+1, classify(ctx, partOp, err, sent))
	}
	part.ETag = out.ETag
	return part, nil
}

func (u *upload) complete(ctx context.Context, parts []types.CompletedPart) error {
	if err := bucket.ContextError(ctx); err != nil {
		return err
	}
	ctx, cancel := u.b.deadline(ctx, u.body.Size()) // the store may copy the parts together now
	defer cancel()
	ctx, sent := watchSending(ctx)
	_, err := u.b.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket:          &u.b.cfg.Bucket,
		Key:             u.key,
		UploadId:        u.id,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
		ChecksumCRC32C:  aws.String(checksum(u.body.CRC32C)),
		ChecksumType:    types.ChecksumTypeFullObject,
		IfNoneMatch:     aws.String("*"), // I3
	})
	return classify(ctx, createOp, err, sent)
}

// abort frees the parts of an upload that certainly made no object. It does so even if the caller
// has given up meanwhile.
func (u *upload) abort(ctx context.Context) error {
	ctx, cancel := u.b.deadline(context.WithoutCancel(ctx), 0)
	defer cancel()
	_, err := u.b.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &u.b.cfg.Bucket, Key: u.key, UploadId: u.id})
	if code(err) == "NoSuchUpload" {
		return nil
	}
	return err
}
