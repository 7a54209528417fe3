"""boto3 against the server: files, checksums, multipart, paging, conditions, presigned URLs, errors."""
import io
import os
import random
import subprocess
import sys
import threading

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

endpoint, label = sys.argv[1], sys.argv[2]
# Like every client of S3 it tries again what was answered 503 SlowDown, on a machine that stands still for a while.
s3 = boto3.client("s3", endpoint_url=endpoint, config=Config(
    signature_version="s3v4", s3={"addressing_style": "path"}, retries={"mode": "standard", "total_max_attempts": 4}))
bucket = "boto-" + label
new = tuple(int(p) for p in boto3.__version__.split(".")[:2]) >= (1, 36)
rng = random.Random(7)


def fails(status, code, call, **kw):
    try:
        call(**kw)
    except ClientError as e:
        got = (e.response["ResponseMetadata"]["HTTPStatusCode"], e.response["Error"]["Code"])
        assert got == (status, code), (got, (status, code))
        return e
    raise AssertionError(f"no {code}")


s3.create_bucket(Bucket=bucket)
assert bucket in [b["Name"] for b in s3.list_buckets()["Buckets"]]
assert s3.get_bucket_location(Bucket=bucket)["LocationConstraint"] is None

# Objects of many sizes, and what comes back with them.
for size in (0, 1, 70000, 5 << 20):
    body = rng.randbytes(size)
    s3.put_object(Bucket=bucket, Key=f"size/{size}", Body=body, Metadata={"foo": "bar", "MiXed": "case"}, CacheControl="no-cache")
    got = s3.get_object(Bucket=bucket, Key=f"size/{size}")
    assert got["Body"].read() == body
    assert got["Metadata"] == {"foo": "bar", "mixed": "case"}, got["Metadata"]
    assert got["CacheControl"] == "no-cache" and got["ContentType"] == "binary/octet-stream"
body = rng.randbytes(100000)
s3.put_object(Bucket=bucket, Key="r", Body=body)
for spec, want in (("bytes=0-9", body[:10]), ("bytes=-5", body[-5:]), ("bytes=99990-200000", body[99990:])):
    got = s3.get_object(Bucket=bucket, Key="r", Range=spec)
    assert got["Body"].read() == want and got["ResponseMetadata"]["HTTPStatusCode"] == 206
fails(416, "InvalidRange", s3.get_object, Bucket=bucket, Key="r", Range="bytes=100000-")

# Multipart through the transfer manager, with threads.
big = rng.randbytes(23 << 20)
s3.upload_fileobj(io.BytesIO(big), bucket, "big", Config=TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20))
out = io.BytesIO()
s3.download_fileobj(bucket, "big", out, Config=TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20))
assert out.getvalue() == big
assert s3.head_object(Bucket=bucket, Key="big")["ETag"].endswith('-5"')
s3.copy({"Bucket": bucket, "Key": "big"}, bucket, "big-copy", Config=TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=6 << 20))
assert s3.get_object(Bucket=bucket, Key="big-copy")["Body"].read() == big
if new:
    for alg in ("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"):
        try:
            s3.put_object(Bucket=bucket, Key="c/" + alg, Body=b"checked", ChecksumAlgorithm=alg)
        except Exception as e:  # CRC32C and CRC64NVME need the optional awscrt
            assert "awscrt" in str(e).lower() or "crt" in str(e).lower(), e
            continue
        got = s3.get_object(Bucket=bucket, Key="c/" + alg, ChecksumMode="ENABLED")
        assert got["Body"].read() == b"checked" and got["Checksum" + alg]
    got = s3.get_object_attributes(Bucket=bucket, Key="big", ObjectAttributes=["ETag", "ObjectParts", "ObjectSize", "Checksum"])
    assert got["ObjectSize"] == len(big) and got["ObjectParts"]["TotalPartsCount"] == 5, got

# Paging, one key at a time, and common prefixes.
for k in ("p/a", "p/b/1", "p/b/2", "p/c", "p/ü"):
    s3.put_object(Bucket=bucket, Key=k, Body=k.encode())
keys = [o["Key"] for p in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="p/", PaginationConfig={"PageSize": 1}) for o in p.get("Contents", [])]
assert keys == ["p/a", "p/b/1", "p/b/2", "p/c", "p/ü"], keys
pages = list(s3.get_paginator("list_objects").paginate(Bucket=bucket, Prefix="p/", Delimiter="/", PaginationConfig={"PageSize": 2}))
assert [c["Prefix"] for p in pages for c in p.get("CommonPrefixes", [])] == ["p/b/"]
assert [o["Key"] for p in pages for o in p.get("Contents", [])] == ["p/a", "p/c", "p/ü"]

# Conditions, tags, errors.
if new:
    fails(412, "PreconditionFailed", s3.put_object, Bucket=bucket, Key="r", Body=b"", IfNoneMatch="*")
fails(304, "304", s3.get_object, Bucket=bucket, Key="r", IfNoneMatch=s3.head_object(Bucket=bucket, Key="r")["ETag"])
s3.put_object_tagging(Bucket=bucket, Key="r", Tagging={"TagSet": [{"Key": "k", "Value": "v"}]})
assert s3.get_object_tagging(Bucket=bucket, Key="r")["TagSet"] == [{"Key": "k", "Value": "v"}]
s3.delete_object_tagging(Bucket=bucket, Key="r")
assert s3.get_object_tagging(Bucket=bucket, Key="r")["TagSet"] == []
fails(404, "NoSuchKey", s3.get_object, Bucket=bucket, Key="absent")
fails(404, "NoSuchBucket", s3.list_objects_v2, Bucket="no-such-bucket-here")
fails(409, "BucketNotEmpty", s3.delete_bucket, Bucket=bucket)
fails(501, "NotImplemented", s3.put_bucket_website, Bucket=bucket, WebsiteConfiguration={"IndexDocument": {"Suffix": "i"}})
# Configuration that was never set is answered as AWS does, so that tools that look before they work go on; setting it is 501.
assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)
acl = s3.get_bucket_acl(Bucket=bucket)
assert [g["Permission"] for g in acl["Grants"]] == ["FULL_CONTROL"] and acl["Grants"][0]["Grantee"]["ID"] == acl["Owner"]["ID"], acl
assert s3.get_object_acl(Bucket=bucket, Key="r")["Grants"][0]["Permission"] == "FULL_CONTROL"
assert s3.get_bucket_request_payment(Bucket=bucket)["Payer"] == "BucketOwner"
for call, code in (
    (s3.get_bucket_policy, "NoSuchBucketPolicy"),
    (s3.get_bucket_policy_status, "NoSuchBucketPolicy"),
    (s3.get_bucket_tagging, "NoSuchTagSet"),
    (s3.get_bucket_lifecycle_configuration, "NoSuchLifecycleConfiguration"),
    (s3.get_bucket_cors, "NoSuchCORSConfiguration"),
    (s3.get_bucket_website, "NoSuchWebsiteConfiguration"),
    (s3.get_bucket_encryption, "ServerSideEncryptionConfigurationNotFoundError"),
    (s3.get_bucket_replication, "ReplicationConfigurationNotFoundError"),
    (s3.get_bucket_ownership_controls, "OwnershipControlsNotFoundError"),
    (s3.get_public_access_block, "NoSuchPublicAccessBlockConfiguration"),
    (s3.get_object_lock_configuration, "ObjectLockConfigurationNotFoundError"),
):
    fails(404, code, call, Bucket=bucket)
for call in (s3.get_bucket_logging, s3.get_bucket_notification_configuration, s3.get_bucket_accelerate_configuration):
    assert set(call(Bucket=bucket)) == {"ResponseMetadata"}
fails(501, "NotImplemented", s3.put_bucket_versioning, Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
fails(404, "NoSuchUpload", s3.abort_multipart_upload, Bucket=bucket, Key="r", UploadId="nope")

# Presigned GET and PUT.
curl = ["curl", "-fsS"] + (["--cacert", os.environ["AWS_CA_BUNDLE"]] if endpoint.startswith("https") else [])
url = s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "signed +ü"}, ExpiresIn=600)
subprocess.run(curl + ["-X", "PUT", "--data-binary", "@-", url], input=b"by url", check=True)
url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "signed +ü"}, ExpiresIn=600)
assert subprocess.run(curl + [url], stdout=subprocess.PIPE, check=True).stdout == b"by url"

# Many at once.
errors = []


def worker(i):
    try:
        for j in range(20):
            s3.put_object(Bucket=bucket, Key=f"t/{i}/{j}", Body=b"x" * j)
    except Exception as e:
        errors.append(e)


threads = [threading.Thread(target=worker, args=(i,)) for i in range(8)]
[t.start() for t in threads]
[t.join() for t in threads]
assert not errors, errors
total = 0
for p in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
    out = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": o["Key"]} for o in p["Contents"]]})
    assert "Errors" not in out
    total += len(out["Deleted"])
assert total >= 160

# Emptied by versions, as clean-up scripts do.
for i in range(5):
    s3.put_object(Bucket=bucket, Key=f"v {i % 2}/ü&{i}", Body=b"v")
pages = list(s3.get_paginator("list_object_versions").paginate(Bucket=bucket, PaginationConfig={"PageSize": 1}))
assert [(v["Key"], v["VersionId"], v["IsLatest"]) for p in pages for v in p.get("Versions", [])] == sorted(
    (f"v {i % 2}/ü&{i}", "null", True) for i in range(5)), pages
pages = list(s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Delimiter="/", PaginationConfig={"PageSize": 1}))
assert [c["Prefix"] for p in pages for c in p.get("CommonPrefixes", [])] == ["v 0/", "v 1/"], pages
resource = boto3.resource("s3", endpoint_url=endpoint, config=s3.meta.config)
for r in resource.Bucket(bucket).object_versions.delete():
    assert "Errors" not in r, r
assert not s3.list_object_versions(Bucket=bucket).get("Versions")
s3.delete_bucket(Bucket=bucket)
print("boto3", boto3.__version__, "ok")
