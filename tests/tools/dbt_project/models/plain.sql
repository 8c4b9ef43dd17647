{{ config(materialized='table', partition_by={'field': 'day', 'data_type': 'date'}, cluster_by=['name']) }}
SELECT * FROM {{ ref('people') }}
