package s3

// The error codes. Source: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
const (
	CodeAccessControlListNotSupported                  Code = "AccessControlListNotSupported"
	CodeAccessDenied                                   Code = "AccessDenied"
	CodeAccessForbidden                                Code = "AccessForbidden"
	CodeAuthorizationHeaderMalformed                   Code = "AuthorizationHeaderMalformed"
	CodeAuthorizationQueryParametersError              Code = "AuthorizationQueryParametersError"
	CodeBadDigest                                      Code = "BadDigest"
	CodeBadRequest                                     Code = "BadRequest"
	CodeBucketAlreadyExists                            Code = "BucketAlreadyExists"
	CodeBucketAlreadyOwnedByYou                        Code = "BucketAlreadyOwnedByYou"
	CodeBucketNotEmpty                                 Code = "BucketNotEmpty"
	CodeConditionalRequestConflict                     Code = "ConditionalRequestConflict"
	CodeEntityTooLarge                                 Code = "EntityTooLarge"
	CodeEntityTooSmall                                 Code = "EntityTooSmall"
	CodeExpiredToken                                   Code = "ExpiredToken"
	CodeIncompleteBody                                 Code = "IncompleteBody"
	CodeInsufficientStorage                            Code = "InsufficientStorage"
	CodeInternalError                                  Code = "InternalError"
	CodeInvalidAccessKeyId                             Code = "InvalidAccessKeyId"
	CodeInvalidArgument                                Code = "InvalidArgument"
	CodeInvalidBucketName                              Code = "InvalidBucketName"
	CodeInvalidBucketOwnerAWSAccountID                 Code = "InvalidBucketOwnerAWSAccountID"
	CodeInvalidBucketState                             Code = "InvalidBucketState"
	CodeInvalidDigest                                  Code = "InvalidDigest"
	CodeInvalidLocationConstraint                      Code = "InvalidLocationConstraint"
	CodeInvalidObjectState                             Code = "InvalidObjectState"
	CodeInvalidPart                                    Code = "InvalidPart"
	CodeInvalidPartNumber                              Code = "InvalidPartNumber"
	CodeInvalidPartOrder                               Code = "InvalidPartOrder"
	CodeInvalidPolicyDocument                          Code = "InvalidPolicyDocument"
	CodeInvalidRange                                   Code = "InvalidRange"
	CodeInvalidRequest                                 Code = "InvalidRequest"
	CodeInvalidStorageClass                            Code = "InvalidStorageClass"
	CodeInvalidTag                                     Code = "InvalidTag"
	CodeInvalidToken                                   Code = "InvalidToken"
	CodeInvalidURI                                     Code = "InvalidURI"
	CodeKeyTooLongError                                Code = "KeyTooLongError"
	CodeMalformedPOSTRequest                           Code = "MalformedPOSTRequest"
	CodeMalformedTrailerError                          Code = "MalformedTrailerError"
	CodeMalformedXML                                   Code = "MalformedXML"
	CodeMaxMessageLengthExceeded                       Code = "MaxMessageLengthExceeded"
	CodeMaxPostPreDataLengthExceededError              Code = "MaxPostPreDataLengthExceededError"
	CodeMetadataTooLarge                               Code = "MetadataTooLarge"
	CodeMethodNotAllowed                               Code = "MethodNotAllowed"
	CodeMissingContentLength                           Code = "MissingContentLength"
	CodeNoSuchBucket                                   Code = "NoSuchBucket"
	CodeNoSuchBucketPolicy                             Code = "NoSuchBucketPolicy"
	CodeNoSuchCORSConfiguration                        Code = "NoSuchCORSConfiguration"
	CodeNoSuchConfiguration                            Code = "NoSuchConfiguration"
	CodeNoSuchKey                                      Code = "NoSuchKey"
	CodeNoSuchLifecycleConfiguration                   Code = "NoSuchLifecycleConfiguration"
	CodeNoSuchObjectLockConfiguration                  Code = "NoSuchObjectLockConfiguration"
	CodeNoSuchPublicAccessBlockConfiguration           Code = "NoSuchPublicAccessBlockConfiguration"
	CodeNoSuchTagSet                                   Code = "NoSuchTagSet"
	CodeNoSuchUpload                                   Code = "NoSuchUpload"
	CodeNoSuchVersion                                  Code = "NoSuchVersion"
	CodeNoSuchWebsiteConfiguration                     Code = "NoSuchWebsiteConfiguration"
	CodeNotImplemented                                 Code = "NotImplemented"
	CodeNotModified                                    Code = "NotModified"
	CodeObjectLockConfigurationNotFoundError           Code = "ObjectLockConfigurationNotFoundError"
	CodeOperationAborted                               Code = "OperationAborted"
	CodeOwnershipControlsNotFoundError                 Code = "OwnershipControlsNotFoundError"
	CodePreconditionFailed                             Code = "PreconditionFailed"
	CodeReplicationConfigurationNotFoundError          Code = "ReplicationConfigurationNotFoundError"
	CodeRequestHeaderSectionTooLarge                   Code = "RequestHeaderSectionTooLarge"
	CodeRequestTimeTooSkewed                           Code = "RequestTimeTooSkewed"
	CodeRequestTimeout                                 Code = "RequestTimeout"
	CodeServerSideEncryptionConfigurationNotFoundError Code = "ServerSideEncryptionConfigurationNotFoundError"
	CodeServiceUnavailable                             Code = "ServiceUnavailable"
	CodeSignatureDoesNotMatch                          Code = "SignatureDoesNotMatch"
	CodeSlowDown                                       Code = "SlowDown"
	CodeXAmzContentSHA256Mismatch                      Code = "XAmzContentSHA256Mismatch"
)

type codeInfo struct {
	status  int
	message string
}

// codes gives the status and the usual message of every code.
var codes = map[Code]codeInfo{
	CodeAccessControlListNotSupported:                  {400, "The bucket does not allow ACLs"},
	CodeAccessDenied:                                   {403, "Access Denied"},
	CodeAccessForbidden:                                {403, "CORSResponse: This CORS request is not allowed."},
	CodeAuthorizationHeaderMalformed:                   {400, "The authorization header that you provided is not valid."},
	CodeAuthorizationQueryParametersError:              {400, "The authorization query parameters that you provided are not valid."},
	CodeBadDigest:                                      {400, "The Content-MD5 or checksum value that you specified did not match what the server received."},
	CodeBadRequest:                                     {400, "Bad Request"},
	CodeBucketAlreadyExists:                            {409, "The requested bucket name is not available. Bucket names are shared by all users of the system. Specify a different name and try again."},
	CodeBucketAlreadyOwnedByYou:                        {409, "Your previous request to create the named bucket succeeded and you already own it."},
	CodeBucketNotEmpty:                                 {409, "The bucket that you tried to delete is not empty."},
	CodeConditionalRequestConflict:                     {409, "A conflicting operation occurred during this conditional request. Fetch the object's ETag and try again."},
	CodeEntityTooLarge:                                 {400, "Your proposed upload exceeds the maximum allowed object size."},
	CodeEntityTooSmall:                                 {400, "Your proposed upload is smaller than the minimum allowed object size."},
	CodeExpiredToken:                                   {400, "The provided token has expired."},
	CodeIncompleteBody:                                 {400, "You did not provide the number of bytes specified by the Content-Length HTTP header."},
	CodeInsufficientStorage:                            {507, "The store has no room for new data. Deletes, reads and listings go on."},
	CodeInternalError:                                  {500, "An internal error occurred. Try again."},
	CodeInvalidAccessKeyId:                             {403, "The access key ID that you provided does not exist in our records."},
	CodeInvalidArgument:                                {400, "Invalid Argument"},
	CodeInvalidBucketName:                              {400, "The specified bucket is not valid."},
	CodeInvalidBucketOwnerAWSAccountID:                 {400, "The value of the expected bucket owner parameter must be an AWS account ID."},
	CodeInvalidBucketState:                             {409, "The request is not valid for the current state of the bucket."},
	CodeInvalidDigest:                                  {400, "The Content-MD5 or checksum value that you specified is not valid."},
	CodeInvalidLocationConstraint:                      {400, "The specified location constraint is not valid."},
	CodeInvalidObjectState:                             {403, "The operation is not valid for the current state of the object."},
	CodeInvalidPart:                                    {400, "One or more of the specified parts could not be found. The part might not have been uploaded, or the specified entity tag might not have matched the part's entity tag."},
	CodeInvalidPartNumber:                              {416, "The requested partnumber is not satisfiable"},
	CodeInvalidPartOrder:                               {400, "The list of parts was not in ascending order. The parts list must be specified in order by part number."},
	CodeInvalidPolicyDocument:                          {400, "The content of the form does not meet the conditions specified in the policy document."},
	CodeInvalidRange:                                   {416, "The requested range is not satisfiable"},
	CodeInvalidRequest:                                 {400, "Invalid Request"},
	CodeInvalidStorageClass:                            {400, "The storage class you specified is not valid"},
	CodeInvalidTag:                                     {400, "The tag provided was not a valid tag."},
	CodeInvalidToken:                                   {400, "The provided token is malformed or otherwise not valid."},
	CodeInvalidURI:                                     {400, "Couldn't parse the specified URI."},
	CodeKeyTooLongError:                                {400, "Your key is too long"},
	CodeMalformedPOSTRequest:                           {400, "The body of your POST request is not well-formed multipart/form-data."},
	CodeMalformedTrailerError:                          {400, "The request contained trailing data that was not well-formed or did not conform to our published schema."},
	CodeMalformedXML:                                   {400, "The XML you provided was not well-formed or did not validate against our published schema"},
	CodeMaxMessageLengthExceeded:                       {400, "Your request was too large."},
	CodeMaxPostPreDataLengthExceededError:              {400, "Your POST request fields preceding the upload file were too large."},
	CodeMetadataTooLarge:                               {400, "Your metadata headers exceed the maximum allowed metadata size"},
	CodeMethodNotAllowed:                               {405, "The specified method is not allowed against this resource."},
	CodeMissingContentLength:                           {411, "You must provide the Content-Length HTTP header."},
	CodeNoSuchBucket:                                   {404, "The specified bucket does not exist"},
	CodeNoSuchBucketPolicy:                             {404, "The bucket policy does not exist"},
	CodeNoSuchCORSConfiguration:                        {404, "The CORS configuration does not exist"},
	CodeNoSuchConfiguration:                            {404, "The specified configuration does not exist."},
	CodeNoSuchKey:                                      {404, "The specified key does not exist."},
	CodeNoSuchLifecycleConfiguration:                   {404, "The lifecycle configuration does not exist"},
	CodeNoSuchObjectLockConfiguration:                  {404, "The specified object does not have a ObjectLock configuration"},
	CodeNoSuchPublicAccessBlockConfiguration:           {404, "The public access block configuration was not found"},
	CodeNoSuchTagSet:                                   {404, "The TagSet does not exist"},
	CodeNoSuchUpload:                                   {404, "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed."},
	CodeNoSuchVersion:                                  {404, "The specified version does not exist."},
	CodeNoSuchWebsiteConfiguration:                     {404, "The specified bucket does not have a website configuration"},
	CodeNotImplemented:                                 {501, "The functionality you requested is not implemented."},
	CodeNotModified:                                    {304, "Not Modified"},
	CodeObjectLockConfigurationNotFoundError:           {404, "Object Lock configuration does not exist for this bucket"},
	CodeOperationAborted:                               {409, "A conflicting conditional operation is currently in progress against this resource. Try again."},
	CodeOwnershipControlsNotFoundError:                 {404, "The bucket ownership controls were not found"},
	CodePreconditionFailed:                             {412, "At least one of the pre-conditions you specified did not hold"},
	CodeReplicationConfigurationNotFoundError:          {404, "The replication configuration was not found"},
	CodeRequestHeaderSectionTooLarge:                   {400, "Your request header section exceeds the maximum allowed size."},
	CodeRequestTimeTooSkewed:                           {403, "The difference between the request time and the current time is too large."},
	CodeRequestTimeout:                                 {400, "Your socket connection to the server was not read from or written to within the timeout period. Idle connections will be closed."},
	CodeServerSideEncryptionConfigurationNotFoundError: {404, "The server side encryption configuration was not found"},
	CodeServiceUnavailable:                             {503, "Service is unable to handle request. Try again."},
	CodeSignatureDoesNotMatch:                          {403, "The request signature that the server calculated does not match the signature that you provided. Check your secret access key and signing method."},
	CodeSlowDown:                                       {503, "Please reduce your request rate."},
	CodeXAmzContentSHA256Mismatch:                      {400, "The provided 'x-amz-content-sha256' header does not match what was computed."},
}
